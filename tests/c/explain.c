#include "explain.h"

// Stops and returns the status of a call that did not succeed.
#define TRY(call)                                 \
    do {                                          \
        decomcam_status status_ = (call);         \
        if (status_ != DECOMCAM_STATUS_OK)        \
            return status_;                       \
    } while (0)

int8_t activations[POSITIONS * CHANNELS];
int8_t weights[CLASSES * CHANNELS];
float weight_scales[CLASSES];
float bias[CLASSES];
float workspace[DECOMCAM_EXPLAIN_WORKSPACE_LEN(POSITIONS, CHANNELS, TOP, COMPONENTS)];

static uint32_t state;

// A number of so many bits, from a linear congruential generator.
static int random_bits(int bits) {
    state = state * 1664525u + 1013904223u;
    return (int)(state >> (32 - bits));
}

static int distance(int a, int b) {
    return a < b ? b - a : a - b;
}

void make_input(void) {
    state = 1;
    // Each channel sees one thing, at a place of the photo that five kinds of channel share, and noise.
    for (int c = 0; c < CHANNELS; c++) {
        int kind = c % 5, strength = random_bits(5);
        int row = kind + random_bits(1), column = (3 * kind) % 7 + random_bits(1);
        for (int position = 0; position < POSITIONS; position++) {
            int near = 4 - distance(position / WIDTH, row) - distance(position % WIDTH, column);
            int value = (near > 0 ? near * strength : 0) + random_bits(4);
            activations[position * CHANNELS + c] = (int8_t)(value - 128);
        }
    }
    for (int k = 0; k < CLASSES; k++) {
        for (int c = 0; c < CHANNELS; c++)
            weights[k * CHANNELS + c] = (int8_t)((c % 5 == k % 5 ? 40 : 0) + random_bits(6) - 32);
        weight_scales[k] = (float)(k + 16) / 8192.0f;
        bias[k] = (float)(k - 5) / 8.0f;
    }
}

decomcam_maps tensor(void) {
    decomcam_maps maps = decomcam_maps_hwc(DECOMCAM_ELEMENT_I8, activations, sizeof activations, HEIGHT, WIDTH, CHANNELS);
    maps.scale = 0.0235f;
    maps.zero_point = -128;
    return maps;
}

decomcam_head linear_head(void) {
    decomcam_head head = {decomcam_maps_matrix(DECOMCAM_ELEMENT_I8, weights, sizeof weights, CLASSES, CHANNELS), bias, CLASSES};
    head.weights.scales = weight_scales;
    return head;
}

decomcam_status explain_at_once(decomcam_explanation *explanation) {
    static const size_t versus = 1;
    decomcam_maps maps = tensor();
    decomcam_head head = linear_head();
    decomcam_question question = {.class_index = 2, .versus = &versus, .channels = TOP, .components = COMPONENTS};
    return decomcam_explain(&head, &maps, &question, workspace, sizeof workspace / sizeof *workspace, explanation);
}

static uint64_t hash_of(uint64_t hash, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return hash;
}

static const uint64_t EMPTY = 0xcbf29ce484222325u;

static uint64_t hash_of_floats(const float *values, size_t len) {
    return hash_of(EMPTY, values, len * sizeof *values);
}

// A stand-in for a network: it "scores" what it sees in the middle of the masked photo.
static int32_t score_middle(void *photo, decomcam_mask *mask, float *score) {
    float row[OUT], masked[OUT];
    const float *rows = photo;
    *score = 0.125f;
    if (!mask)
        return 0;
    if (decomcam_mask_row(mask, OUT / 2, row, OUT) || decomcam_blend(rows, rows + OUT, row, masked, OUT))
        return 1;
    *score = masked[OUT / 2];
    return 0;
}

// What needs activations and gradients alone.
static decomcam_status maps_of_gradients(report report) {
    static int8_t slopes[POSITIONS * CHANNELS];
    enum { LEN = DECOMCAM_CAM_SCRATCH_LEN(POSITIONS), SPACE = DECOMCAM_WORKSPACE_LEN(POSITIONS, CHANNELS) };
    static float scratch[LEN], space[SPACE], map[POSITIONS], shared[POSITIONS];
    enum { AFFINITY_LEN = DECOMCAM_AFFINITY_SCRATCH_LEN(POSITIONS), ENTRIES = POSITIONS * POSITIONS };
    static float matrix[ENTRIES], affinity_scratch[AFFINITY_LEN];
    for (int i = 0; i < POSITIONS * CHANNELS; i++)
        slopes[i] = (int8_t)(random_bits(8) - 128);
    decomcam_maps maps = tensor(), gradients = maps;
    gradients.data = slopes;
    gradients.scale = 0.001f;
    gradients.zero_point = -16;

    static const char *const names[] = {"grad_cam", "grad_cam_plus_plus", "x_grad_cam", "hi_res_cam", "layer_cam"};
    for (decomcam_method method = 0; method < 5; method++) {
        TRY(decomcam_cam(method, &maps, &gradients, scratch, LEN, map, POSITIONS));
        report(names[method], hash_of_floats(map, POSITIONS));
    }
    TRY(decomcam_eigen_cam(&maps, space, SPACE, map, POSITIONS));
    report("eigen_cam", hash_of_floats(map, POSITIONS));
    TRY(decomcam_eigen_grad_cam(&maps, &gradients, space, SPACE, map, POSITIONS));
    report("eigen_grad_cam", hash_of_floats(map, POSITIONS));
    TRY(decomcam_affinity(&maps, affinity_scratch, AFFINITY_LEN, matrix, ENTRIES));
    report("affinity", hash_of_floats(matrix, ENTRIES));
    TRY(decomcam_share(matrix, ENTRIES, map, shared, POSITIONS));
    report("shared", hash_of_floats(shared, POSITIONS));
    return DECOMCAM_STATUS_OK;
}

decomcam_status explain(report report) {
    make_input();
    decomcam_explanation whole;
    TRY(explain_at_once(&whole));
    report("score", hash_of_floats(&whole.score, 1));
    report("explain_channels", hash_of(EMPTY, whole.channels, whole.channels_len * sizeof *whole.channels));
    report("explain_ossms", hash_of_floats(whole.parts.components, whole.parts.count * whole.parts.positions));
    report("explain_singular_values", hash_of_floats(whole.parts.singular_values, whole.parts.singular_values_len));
    report("explain_predicted", hash_of_floats(whole.predicted, whole.parts.count));
    report("explain_measured", hash_of_floats(whole.measured, whole.parts.count));
    report("explain_weights", hash_of_floats(whole.weights, whole.parts.count));
    report("explain_saliency", hash_of_floats(whole.saliency, whole.parts.positions));
    report("explain_first_order", hash_of_floats(whole.centred_first_order, whole.parts.positions));

    // The same stage by stage, each in a buffer of its own.
    static float pooled[CHANNELS], logits[CLASSES], channel_weights[CHANNELS];
    static float space[DECOMCAM_WORKSPACE_LEN(POSITIONS, TOP)];
    static decomcam_channel channels[TOP];
    static float first_order[POSITIONS], scratch[2 * POSITIONS], saliency[POSITIONS];
    static float predicted[COMPONENTS], aligned[COMPONENTS], exact[COMPONENTS], measured[COMPONENTS];
    const size_t versus = 1;
    decomcam_maps maps = tensor();
    decomcam_head head = linear_head();
    decomcam_parts parts;

    TRY(decomcam_pool(&maps, pooled, CHANNELS));
    report("pooled", hash_of_floats(pooled, CHANNELS));
    TRY(decomcam_head_logits(&head, pooled, CHANNELS, logits, CLASSES));
    report("logits", hash_of_floats(logits, CLASSES));
    TRY(decomcam_head_channel_weights(&head, 2, &versus, POSITIONS, channel_weights, CHANNELS));
    report("channel_weights", hash_of_floats(channel_weights, CHANNELS));
    TRY(decomcam_top_channels(channel_weights, CHANNELS, channels, TOP));
    report("top_channels", hash_of(EMPTY, channels, sizeof channels));
    const decomcam_selection selection = {channel_weights, CHANNELS, channels, TOP, COMPONENTS, DECOMCAM_SIGN_SCORE};
    TRY(decomcam_decompose(&maps, &selection, space, sizeof space / sizeof *space, &parts));
    report("components", hash_of_floats(parts.components, COMPONENTS * POSITIONS));
    report("singular_values", hash_of_floats(parts.singular_values, parts.singular_values_len));
    report("first_order_of_top", hash_of_floats(parts.centred_first_order, POSITIONS));
    TRY(decomcam_predicted(&parts, predicted, COMPONENTS));
    report("predicted", hash_of_floats(predicted, COMPONENTS));
    TRY(decomcam_aligned_weights(&parts, aligned, COMPONENTS));
    report("aligned_weights", hash_of_floats(aligned, COMPONENTS));
    TRY(decomcam_exact_weights(&parts, exact, COMPONENTS));
    report("exact_weights", hash_of_floats(exact, COMPONENTS));
    TRY(decomcam_rectify(&parts));
    report("ossms", hash_of_floats(parts.components, COMPONENTS * POSITIONS));
    TRY(decomcam_integrate_sum(parts.components, COMPONENTS * POSITIONS, aligned, COMPONENTS, saliency, POSITIONS));
    report("saliency", hash_of_floats(saliency, POSITIONS));
    float mean;
    TRY(decomcam_uncentred_first_order(&maps, channel_weights, CHANNELS, scratch, 2 * POSITIONS, first_order, POSITIONS));
    report("uncentred_first_order", hash_of_floats(first_order, POSITIONS));
    TRY(decomcam_first_order_mean(&maps, channel_weights, CHANNELS, &mean));
    report("first_order_mean", hash_of_floats(&mean, 1));
    TRY(decomcam_centred_first_order(&maps, channel_weights, CHANNELS, scratch, 2 * POSITIONS, first_order, POSITIONS));
    report("centred_first_order", hash_of_floats(first_order, POSITIONS));
    TRY(decomcam_contributions(parts.components, COMPONENTS * POSITIONS, first_order, POSITIONS, scratch, POSITIONS,
                               measured, COMPONENTS));
    report("measured", hash_of_floats(measured, COMPONENTS));

    // The saliency at another size, row by row: once to find its range, once to scale it.
    static decomcam_tap taps[OUT];
    static float padded[DECOMCAM_BICUBIC_SCRATCH_LEN(WIDTH)], row[OUT];
    decomcam_bicubic bicubic;
    decomcam_range range = decomcam_range_empty();
    uint64_t hash = EMPTY;
    TRY(decomcam_bicubic_init(&bicubic, HEIGHT, WIDTH, OUT, OUT, taps));
    for (int scaled = 0; scaled < 2; scaled++) {
        for (size_t y = 0; y < OUT; y++) {
            TRY(decomcam_bicubic_row(&bicubic, saliency, POSITIONS, y, padded, WIDTH + 4, row, OUT));
            for (int x = 0; x < OUT; x++)
                row[x] = row[x] > 0.0f ? row[x] : 0.0f;
            if (scaled) {
                TRY(decomcam_range_scale(&range, row, OUT));
                hash = hash_of(hash, row, sizeof row);
            } else {
                TRY(decomcam_range_include(&range, row, OUT));
            }
        }
    }
    report("upsampled", hash);

    // Masked photos, scored by the caller, and what each formula makes of the scores.
    static float photo[2 * OUT], masks[DECOMCAM_MASK_WORKSPACE_LEN(WIDTH, OUT, COMPONENTS)], scores[COMPONENTS];
    float blurred;
    for (int x = 0; x < OUT; x++) {
        photo[x] = (float)random_bits(8) / 256.0f;
        photo[OUT + x] = 0.25f;
    }
    const decomcam_masking masking = {parts.components, COMPONENTS * POSITIONS, &bicubic, score_middle, photo};
    TRY(decomcam_mask_scores(&masking, masks, sizeof masks / sizeof *masks, scores, COMPONENTS, &blurred));
    report("scores", hash_of_floats(scores, COMPONENTS));
    static const char *const names[] = {"weights_paper", "weights_notebook", "weights_v1", "weights_v25"};
    for (decomcam_formula formula = 0; formula < 4; formula++) {
        TRY(decomcam_score_weights(formula, scores, blurred, aligned, COMPONENTS));
        report(names[formula], hash_of_floats(aligned, COMPONENTS));
    }
    return maps_of_gradients(report);
}
