// One explanation through the C interface, the same on a desktop and on a board: tests/core/ffi.rs computes it in Rust, from the same input.
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "decomcam.h"

#include <stdint.h>

enum { CHANNELS = 1280, HEIGHT = 7, WIDTH = 7, CLASSES = 10, TOP = 100, COMPONENTS = 10, OUT = 56 };
enum { POSITIONS = HEIGHT * WIDTH };

// What a model's runtime would leave: a tensor of bytes in the order height x width x channels, and the last layer's weights.
extern int8_t activations[POSITIONS * CHANNELS];
extern int8_t weights[CLASSES * CHANNELS];
extern float weight_scales[CLASSES];
extern float bias[CLASSES];

// Workspace and results of the convenience call: all the memory that an explanation takes.
extern float workspace[DECOMCAM_EXPLAIN_WORKSPACE_LEN(POSITIONS, CHANNELS, TOP, COMPONENTS)];

// Fills them, with integers only.
void make_input(void);

// The tensors as the interface wants them.
decomcam_maps tensor(void);
decomcam_head linear_head(void);

// Everything about class 2 rather than class 1.
decomcam_status explain_at_once(decomcam_explanation *explanation);

// Told of each result: its name, and the FNV-1a hash of its bits.
typedef void (*report)(const char *name, uint64_t hash);

// The explanation at once and then stage by stage, and what needs gradients alone. Reports every result; stops at the first status that is not success.
decomcam_status explain(report report);

#endif
