// Why grey.tflite gave a picture its score, at layer "second". Written by decomcam 0.1.0.
#include "why.h"

const char *const why_names[WHY_CLASSES] = {
    "0",
    "1",
};

// The linear layer behind the average over all places of the layer: classes x channels.
static const int8_t weights[WHY_CLASSES * WHY_CHANNELS] = {
    -56, -24, -110, 39, 74, -4, 34, 63, 75, 49, 51, -117, -44, 72, 72, 101,
    -51, -43, 120, 59,
};

// Real number of one step of the weights, for each class.
static const float scales[WHY_CLASSES] = {
    0.00815647f, 0.014019661f,
};

static const float bias[WHY_CLASSES] = {
    -2.3610592f, 3.0278153f,
};

static float workspace[WHY_WORKSPACE];

// Fails to compile with a header of a version that needs another workspace.
typedef char workspace_fits[DECOMCAM_EXPLAIN_WORKSPACE_LEN(WHY_HEIGHT * WHY_WIDTH, WHY_CHANNELS, WHY_TOP, WHY_PARTS) == WHY_WORKSPACE ? 1 : -1];

decomcam_status why(const int8_t *features, size_t class_index, decomcam_explanation *explanation) {
    decomcam_maps activations = decomcam_maps_hwc(DECOMCAM_ELEMENT_I8, features, WHY_FEATURES, WHY_HEIGHT, WHY_WIDTH, WHY_CHANNELS);
    activations.scale = 0.15638612f;
    activations.zero_point = -128;
    decomcam_head head = {decomcam_maps_matrix(DECOMCAM_ELEMENT_I8, weights, WHY_CLASSES * WHY_CHANNELS, WHY_CLASSES, WHY_CHANNELS), bias, WHY_CLASSES};
    head.weights.scales = scales;
    decomcam_question question = {0};
    question.class_index = class_index;
    question.channels = WHY_TOP;
    question.components = WHY_PARTS;
    return decomcam_explain(&head, &activations, &question, workspace, WHY_WORKSPACE, explanation);
}
