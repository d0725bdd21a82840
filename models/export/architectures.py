"""How many architectures of timm and torchvision are explained, and whether rightly: `python architectures.py OUT --program target/release/examples/layer [NAME...]`.

Each network gets random weights (seed 0), is exported by torch's TorchScript exporter and by its current one (`dynamo=True`, which needs onnxscript), and is opened by the
example `layer` as the command opens it. For the photo tests/photos/chelsea.png the activations and gradients at the layer that is chosen by default are compared with what torch
has at the module that gives the same numbers. OUT receives `results.json`; networks are removed again unless --keep. Names are timm's, or torchvision's behind `tv:`.

Default layers are held to what users of pytorch-grad-cam take: the output of the last block or of the last convolution with its activation before pooling; for networks whose
class token alone is read in the end, what enters the last block's attention. TARGETS has the modules by family.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

TIMM = """resnet10t resnet18 resnet26d resnetv2_50x1_bit resnetv2_50 seresnet50 ecaresnet26t gcresnext26ts skresnet18 resnest14d resnext26ts res2net50_26w_4s wide_resnet50_2
densenet121 vgg11 vgg11_bn efficientnet_b0 tf_efficientnetv2_b0 efficientnet_lite0 mobilenetv1_100 mobilenetv2_050 mobilenetv3_small_050 mobilenetv3_large_100
mobilenetv4_conv_small mobilenetv4_hybrid_medium mnasnet_small fbnetc_100 spnasnet_100 tinynet_e mixnet_s regnetx_002 regnety_002 regnetz_b16 ghostnet_050 ghostnetv2_100
hardcorenas_a lcnet_035 semnasnet_075 hrnet_w18_small cs3darknet_s cspresnet50 cspdarknet53 dla34 dpn48b dpn68 nfnet_l0 dm_nfnet_f0 eca_nfnet_l0 repvgg_a0 mobileone_s0
convnext_atto convnextv2_atto convnext_tiny inception_v3 inception_v4 inception_resnet_v2 xception41 selecsls42b rexnet_100 nf_regnet_b0 botnet26t_256 halonet26t lambda_resnet26t
eca_botnext26ts_256 bat_resnext26ts ese_vovnet19b_dw legacy_seresnet18 visformer_tiny vit_tiny_patch16_224 deit_tiny_patch16_224 deit_tiny_distilled_patch16_224
deit3_small_patch16_224 vit_small_patch14_reg4_dinov2 vit_base_patch16_siglip_224 vit_base_patch32_clip_224 vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224
vit_medium_patch16_gap_240 flexivit_small beit_base_patch16_224 beitv2_base_patch16_224 eva02_tiny_patch14_224 cait_xxs24_224 xcit_nano_12_p16_224 swin_tiny_patch4_window7_224
swinv2_tiny_window8_256 swinv2_cr_tiny_ns_224 maxvit_tiny_tf_224 coatnet_0_rw_224 coatnet_nano_rw_224 levit_128s levit_conv_128s mixer_s32_224 gmlp_s16_224 resmlp_12_224
poolformer_s12 poolformerv2_s12 caformer_s18 convformer_s18 pit_ti_224 pit_ti_distilled_224 pvt_v2_b0 twins_svt_small twins_pcpvt_small mobilevit_xxs mobilevitv2_050
efficientformer_l1 efficientformerv2_s0 edgenext_xx_small crossvit_tiny_240 coat_lite_tiny convit_tiny convmixer_768_32 fastvit_t8 repvit_m0_9 repghostnet_050 efficientvit_b0
efficientvit_m0 tiny_vit_5m_224 tnt_s_legacy_patch16_224 sequencer2d_s gcvit_xxtiny focalnet_tiny_srf davit_tiny inception_next_tiny hiera_tiny_224 mvitv2_tiny nest_tiny
nextvit_small volo_d1_224 vitamin_small_224 hgnet_tiny hgnetv2_b0 starnet_s1 rdnet_tiny shvit_s1 swiftformer_xs mambaout_femto""".split()
TORCHVISION = """alexnet resnet18 resnext50_32x4d wide_resnet50_2 densenet121 vgg11 squeezenet1_0 squeezenet1_1 googlenet inception_v3 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5
mnasnet0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf convnext_tiny vit_b_32 swin_t swin_v2_t maxvit_t""".split()
NAMES = TIMM + [f"tv:{name}" for name in TORCHVISION]

# Modules, by the beginning of a name; the first line that fits counts. A module stands for what it gives and, with `>` before it, for what it takes. What stands under "" fits all:
# most of timm calls the whole before pooling `forward_features`, which stands for what that gives.
TARGETS = {
    "tv:squeezenet": ["features", "features.12.cat"],
    "tv:vit": [">encoder.layers.encoder_layer_11", "encoder.layers.encoder_layer_10", "encoder.layers.encoder_layer_11.ln_1"],
    "tv:swin": ["features.7", "norm"],
    "tv:maxvit": ["blocks.3", "blocks"],
    "tv:googlenet": ["inception5b"],
    "tv:inception": ["Mixed_7c"],
    "tv:shufflenet": ["conv5"],
    "tv:mnasnet": ["layers"],
    "tv:regnet": ["trunk_output"],
    "tv:resn": ["layer4"],
    "tv:wide": ["layer4"],
    "tv:": ["features", ">avgpool"],
    # The class token alone is read: the last block's other tokens have no gradient.
    "cait": [">blocks_token_only.0", "blocks.23"],
    "xcit": [">cls_attn_blocks.0", "blocks.11"],
    "volo": [">post_network.0", "network.4"],
    "pit": [">transformers.2.blocks.3", "transformers.2.blocks.2"],
    "crossvit": [">blocks.2.blocks.0.3", ">blocks.2.blocks.1.3", "blocks.2.blocks.0.2", "norm.0", "norm.1", "blocks.1", "blocks.2.blocks.1", "blocks.2.blocks.0"],
    "": ["forward_features", "blocks.-1", "stages.-1", "layers.-1", "blocks.-1.norm1", ">blocks.-1", "blocks.-2", ">blocks.-1.norm1"],
}
LIMIT = 240  # seconds for one network
CLASSES = 10
CLOSE = 1e-5  # of the largest number
AGREES = 1e-3  # two layers whose numbers differ by less are the same one


def created(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if name.startswith("tv:"):
        extra = {"init_weights": True, "aux_logits": False} if "googlenet" in name or "inception" in name else {}
        return torchvision.models.get_model(name[3:], weights=None, num_classes=CLASSES, **extra).eval()
    return timm.create_model(name, pretrained=False, num_classes=CLASSES, exportable=True).eval()


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random gains and biases, so that no branch is switched off and no class token is zero, as in a trained network."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.numel() and not parameter.any():
            parameter.data = 0.02 * torch.randn(parameter.shape, generator=generator)
        elif parameter.ndim <= 1 and float(parameter.abs().max()) < 1e-3:
            parameter.data.fill_(0.1)
    return model


def sides(name: str, model: nn.Module) -> tuple[int, int]:
    if name.startswith("tv:"):
        return (224, 224) if any(word in name for word in ("vit", "swin", "vgg", "alexnet")) else (128, 128)
    _, height, width = model.pretrained_cfg["input_size"]
    if name.startswith("vgg"):  # torch exports their pooling to 7 x 7 from a multiple of 7 only
        return (224, 224)
    free = not model.pretrained_cfg.get("fixed_input_size") and not any(isinstance(module, nn.MultiheadAttention) for module in model.modules())
    convolutional = not any(hasattr(model, part) for part in ("pos_embed", "patch_embed", "cls_token"))
    return (160, 160) if free and convolutional and height > 160 and not name.startswith(("efficientformer", "levit", "gcvit", "maxvit", "coatnet")) else (height, width)


def taps(model: nn.Module, picture: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The scores, and everything that modules take and give, by the module's name."""
    seen: dict[str, torch.Tensor] = {}
    handles = []

    def keep(name: str, value) -> None:
        value = value[0] if isinstance(value, (tuple, list)) and value else value
        if isinstance(value, torch.Tensor) and value.requires_grad and value.is_floating_point():
            seen[name] = value

    def watch(name: str, module: nn.Module) -> None:
        handles.append(module.register_forward_hook(lambda _, given, out: (keep(f">{name}", given), keep(name, out)) and None))

    for name, module in model.named_modules():
        if name and not isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
            watch(name, module)
            if hasattr(module, "inplace"):
                module.inplace = False
    if hasattr(model, "forward_features"):
        whole = model.forward_features
        model.forward_features = lambda *given, **named: (lambda out: (keep("forward_features", out), out)[1])(whole(*given, **named))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    scores = model(picture)
    for handle in handles:
        handle.remove()
    if "forward_features" in model.__dict__:
        del model.forward_features
    return scores, seen


def as_maps(values: np.ndarray, shape: list[int]) -> np.ndarray | None:
    """Numbers of a module as channels x height x width, if they can be that: maps, maps with the channels last, or tokens with some before the grid."""
    channels, height, width = shape
    positions = height * width
    if values.shape[0] == 1:
        values = values[0]
    if values.ndim == 3 and values.shape == (channels, height, width):
        return values
    if values.ndim == 3 and values.shape == (height, width, channels):
        return values.transpose(2, 0, 1)
    if values.ndim == 2 and values.shape == (channels, positions):
        return values.reshape(shape)
    if values.ndim == 2 and values.shape[1] == channels and values.shape[0] >= positions and values.shape[0] - positions <= 8:
        return values[values.shape[0] - positions :].T.reshape(shape)
    return None


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def resolved(model: nn.Module, target: str) -> str | None:
    """A module's name, with the numbers of its lists counted from the end."""
    module, parts = model, []
    for part in target.lstrip(">").split("."):
        if part == "forward_features":
            return part
        if part.startswith("-"):
            children = [name for name, _ in module.named_children()]
            if len(children) < -int(part):
                return None
            part = children[int(part)]
        module = getattr(module, part, None)
        if not isinstance(module, nn.Module):
            return None
        parts.append(part)
    return (">" if target.startswith(">") else "") + ".".join(parts)


def targets(name: str, model: nn.Module) -> list[str]:
    own = next(targets for start, targets in TARGETS.items() if name.startswith(start))
    found = [resolved(model, target) for target in own]
    if not name.startswith("tv:") and getattr(model, "feature_info", None):
        info = model.feature_info
        last = (info.info if hasattr(info, "info") else info)[-1]["module"]
        found += [last, resolved(model, last + ".-1")]
    return [target for target in found if target]


def export(model: nn.Module, picture: torch.Tensor, path: Path, exporter: str) -> None:
    # A copy of the machine's, since the current exporter leaves traces in the module.
    options = {"dynamo": True} if exporter == "dynamo" else {"dynamo": False, "opset_version": 17}
    torch.onnx.export(model, (picture,), str(path), input_names=["image"], output_names=["logits"], verbose=False, **options)


def examined(name: str, exporter: str, args, photo: Image.Image) -> dict:
    model = settled(created(name))
    height, width = sides(name, model)
    pixels = np.asarray(photo.resize((width, height), Image.BICUBIC), np.float32) / 255
    picture = torch.from_numpy(((pixels - 0.45) / 0.225).transpose(2, 0, 1)[None].astype(np.float32))
    path = args.out / f"{name.replace(':', '_')}-{exporter}.onnx"
    record: dict = {"size": [height, width]}
    try:
        export(model, picture, path, exporter)
    except Exception as error:  # what torch cannot export is not this program's matter
        return record | {"not_exported": (str(error).strip() or repr(error)).splitlines()[0][:200]}
    picture.numpy().astype("<f4").tofile(args.out / "input.f32")
    start = time.monotonic()
    try:
        command = [args.program, path, f"{height}x{width}", args.out / "input.f32", args.out / "layer"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return record | {"failure": f"more than {LIMIT} s"}
    finally:
        if not args.keep:
            for file in args.out.glob(f"{path.name}*"):
                file.unlink()
    record["seconds"] = round(time.monotonic() - start, 1)
    if done.returncode:
        return record | {"failure": done.stderr.strip()[:600]}
    answer = json.loads(done.stdout)
    record |= {"layer": answer["layer"], "shape": answer["shape"]}
    found, gradients = (np.fromfile(args.out / "layer" / f"{file}.f32", "<f4").reshape(answer["shape"]) for file in ("activations", "gradients"))
    model = settled(created(name))
    scores, seen = taps(model, picture.requires_grad_(True))
    scores = scores[0] if isinstance(scores, tuple) else scores
    record["class_agrees"] = int(scores[0].argmax()) == answer["class"]
    maps = {module: as_maps(value.detach().numpy(), answer["shape"]) for module, value in seen.items()}
    errors = {module: relative(found, value) for module, value in maps.items() if value is not None and np.isfinite(value).all()}
    accepted = targets(name, model)
    same = [module for module, error in errors.items() if error < AGREES]
    record["is_target"] = bool(set(same) & set(accepted))
    if not same:
        return record | {"nearest": min(errors.items(), key=lambda one: one[1], default=None), "expected": accepted}
    # One tensor may have several names, of which the gradient is taken at the one through which all paths go: the largest at the grid's positions.
    at_modules = (torch.autograd.grad(scores[0, answer["class"]], seen[module], retain_graph=True, allow_unused=True)[0] for module in same)
    gradient = max((as_maps(one.numpy(), answer["shape"]) for one in at_modules if one is not None), key=lambda one: float(np.abs(one).sum()), default=None)
    record |= {"module": same[0], "activations": min(errors[module] for module in same)}
    if record["activations"] > CLOSE:
        # How far torch's own numbers are from those that it computes in double precision.
        _, double = taps(settled(created(name)).double(), picture.detach().double().requires_grad_(True))
        record["torch_alone"] = relative(seen[same[0]].detach().numpy(), double[same[0]].detach().numpy())
    if gradient is not None:
        record["gradients"] = relative(gradients, gradient)
    if not record["is_target"]:
        record["expected"] = accepted
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares the default layers of many architectures with torch.")
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--program", type=Path, required=True, help="the example `layer`")
    parser.add_argument("--exporter", choices=["script", "dynamo"], nargs="+", default=["script", "dynamo"])
    parser.add_argument("--keep", action="store_true", help="leave the networks in OUT")
    args = parser.parse_args()
    args.program = args.program.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    photo = Image.open(Path(__file__).parent.parent.parent / "tests/photos/chelsea.png").convert("RGB")
    path = args.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for exporter in args.exporter:
        for name in args.names:
            key = f"{name} {exporter}"
            try:
                results[key] = examined(name, exporter, args, photo)
            except Exception as error:  # the next one is tried
                results[key] = {"not_compared": repr(error)[:300]}
            print(key, json.dumps(results[key]), flush=True)
            path.write_text(json.dumps(results, indent=1))
    for exporter in args.exporter:
        summary(exporter, {key.rsplit(" ", 1)[0]: one for key, one in results.items() if key.endswith(f" {exporter}")})


def summary(exporter: str, results: dict) -> None:
    exported = {name: one for name, one in results.items() if "not_exported" not in one}
    explained = {name: one for name, one in exported.items() if "layer" in one}
    compared = [one for one in explained.values() if "gradients" in one]
    on_target = [name for name, one in explained.items() if one.get("is_target")]
    print(f"{exporter}: {len(results)} tried, {len(exported)} exported, {len(explained)} inspected and explained")
    for what in ("activations", "gradients"):
        print(f"  {what}: {sum(one[what] <= CLOSE for one in compared)} of {len(compared)} within 1e-5, worst {max((one[what] for one in compared), default=0):.1e}")
    print(f"  default layer as users of pytorch-grad-cam take it: {len(on_target)} of {len(explained)}; not: {', '.join(sorted(set(explained) - set(on_target)))}")


if __name__ == "__main__":
    main()
