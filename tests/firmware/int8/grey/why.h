// Why grey.tflite gave a picture its score, at layer "second". Written by decomcam 0.1.0; README.md says how it is used.
#ifndef WHY_H
#define WHY_H

#include "decomcam.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    WHY_HEIGHT = 8,
    WHY_WIDTH = 14,
    WHY_CHANNELS = 10,
    // Numbers in the layer's tensor.
    WHY_FEATURES = 1120,
    WHY_CLASSES = 2,
    // Channels that are decomposed, those with the largest weights, and parts.
    WHY_TOP = 10,
    WHY_PARTS = 10,
    // Floats of memory, which why() has for itself.
    WHY_WORKSPACE = 5757,
    // The layer's number among the tensors of the .tflite file.
    WHY_TENSOR = 5,
};

// Names of the classes.
extern const char *const why_names[WHY_CLASSES];

// Explains the score of a class. `features`, WHY_FEATURES numbers, is the layer's tensor, height x width x channels, as TensorFlow Lite Micro leaves it. What
// `explanation` points to is valid until the next call. One call at a time.
decomcam_status why(const int8_t *features, size_t class_index, decomcam_explanation *explanation);

// Explains the photo chelsea.png and compares every bit with what the desktop computed: null if all are equal, else what differs first. In self_test.c.
const char *why_self_test(void);

#ifdef __cplusplus
}
#endif

#endif
