"""Exports architectures of timm with random weights, and what ONNX Runtime answers: `python architectures.py OUT [NAME...]`.

OUT then holds NAME.onnx and `expected.json`, as `host/examples/cases.rs` reads it, for a photo that is stretched to the input.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
from PIL import Image

NAMES = """resnet18 resnetv2_50x1_bit seresnet50 densenet121 vgg11_bn efficientnet_b0 mobilenetv3_small_100 mobilenetv2_100 regnety_002 ghostnet_100 hrnet_w18_small
convnext_atto convnextv2_atto inception_v3 xception41 dpn68 nfnet_f0 dm_nfnet_f0 repvgg_a0 vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 vit_small_patch14_reg4_dinov2
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 maxvit_tiny_tf_224 coatnet_0_rw_224 levit_128s mixer_s32_224 poolformer_s12 cait_xxs24_224 xcit_nano_12_p16_224 beit_base_patch16_224
eva02_tiny_patch14_224 pit_ti_224 pvt_v2_b0 twins_svt_small mobilevit_xxs efficientformer_l1 edgenext_xx_small crossvit_tiny_240 visformer_tiny convmixer_768_32 vit_base_patch16_siglip_224
tf_efficientnetv2_b0 rexnet_100 fastvit_t8 repvit_m0_9 efficientvit_b0 tiny_vit_5m_224 sequencer2d_s gcvit_xxtiny focalnet_tiny_srf davit_tiny inception_next_tiny hiera_tiny_224""".split()


def main() -> None:
    out, names = Path(sys.argv[1]), sys.argv[2:] or NAMES
    out.mkdir(parents=True, exist_ok=True)
    photo = Image.open(Path(__file__).parent.parent.parent / "tests/photos/chelsea.png").convert("RGB")
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    expected = {}
    for name in names:
        try:
            torch.manual_seed(0)
            model = timm.create_model(name, pretrained=False, num_classes=10, exportable=True).eval()
            _, height, width = model.pretrained_cfg["input_size"]
            x = torch.zeros(1, 3, height, width)
            torch.onnx.export(model, x, out / f"{name}.onnx", opset_version=17, input_names=["image"], output_names=["logits"], dynamo=False)
            pixels = np.asarray(photo.resize((width, height), Image.BICUBIC), np.float32) / 255
            picture = ((pixels - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
            session = onnxruntime.InferenceSession(out / f"{name}.onnx", providers=["CPUExecutionProvider"])
            (y,) = session.run(None, {"image": picture})
            expected[f"{name}.onnx"] = {
                "height": height,
                "width": width,
                "outputs": {"logits": {"shape": list(y.shape), "type": "float32", "largest": [int(y.argmax()), float(y.max())]}},
                "mean": mean.tolist(),
                "std": std.tolist(),
            }
            print(name, flush=True)
        except Exception as error:
            print(name, "not exported:", str(error)[:160].replace("\n", " "), flush=True)
        (out / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main()
