// DecomCAM in C: why a network gave its score, from buffers that are already in memory.
//
// Generated from core/src/ffi.rs and core/cbindgen.toml by cbindgen: change those.
//
// Start with decomcam_explain() if your network ends in average pooling and a linear layer, with decomcam_channel_weights() otherwise.
//
// The contract of all functions:
// - Every buffer is the caller's. Nothing is allocated, kept or freed; pointers in results are into the caller's workspace.
// - A length counts elements, not bytes. Maps are one after the other, row by row. C channels, H height, W width, P selected channels, Q components.
// - A pointer must be null or point to as many elements as its length says, alive during the call. Null is refused unless its text allows it, and so
//   are a misaligned pointer, a length that does not fit, and a buffer that is written and overlaps with another one of the call.
// - What a call costs is bounded by the lengths that it gets.
// - Outputs are written only if the status is DECOMCAM_STATUS_OK. A workspace, scratch or taps buffer, and what a call changes in place, has unspecified
//   content after any other status.
// - NaN and infinity are refused wherever a result depends on them, and no result is NaN or infinite if the status is DECOMCAM_STATUS_OK.
// - No function panics, throws, prints or uses global state: calls on different buffers may run at the same time.
// - The same buffers give the same bits on every target, if decomcam_environment_ok().


#ifndef DECOMCAM_H
#define DECOMCAM_H

#include <stddef.h>
#include <stdint.h>

// Version of this header. It must be the library's: decomcam_version() == DECOMCAM_VERSION.
#define DECOMCAM_VERSION_MAJOR 0
#define DECOMCAM_VERSION_MINOR 1
#define DECOMCAM_VERSION_PATCH 0
#define DECOMCAM_VERSION (DECOMCAM_VERSION_MAJOR * 65536u + DECOMCAM_VERSION_MINOR * 256u + DECOMCAM_VERSION_PATCH)

// Sizes at compile time, in floats (a channel index, two of which take a float, is counted where it is in a workspace). For example:
//   static float workspace[DECOMCAM_EXPLAIN_WORKSPACE_LEN(7 * 7, 1280, 100, 10)];

// Components that exist, of positions (H W) and selected channels (P): the smaller of P and H W - 1.
#define DECOMCAM_COMPONENTS_MAX(positions, channels) \
  ((size_t)(positions) <= (size_t)(channels) ? (size_t)(positions) - ((size_t)(positions) > 0) : (size_t)(channels))

// Workspace of decomcam_decompose(), of positions (H W) and selected channels (P), and of decomcam_eigen_cam() and decomcam_eigen_grad_cam(), which
// take all channels (P = C): (r + 36) m + 3 H W, with m = H W - 1 rounded up to a multiple of four, and r = P or, if there are H W channels or more, m.
#define DECOMCAM_WORKSPACE_LEN(positions, channels) \
  (((size_t)(channels) < (size_t)(positions) ? (size_t)(channels) : DECOMCAM_WORKSPACE_ROW(positions)) * DECOMCAM_WORKSPACE_ROW(positions) \
   + 36 * DECOMCAM_WORKSPACE_ROW(positions) + 3 * (size_t)(positions))
#define DECOMCAM_WORKSPACE_ROW(positions) (((size_t)(positions) + 2) / 4 * 4)

// Workspace of decomcam_explain(), of positions (H W), channels (C), selected channels (P) and components (Q).
#define DECOMCAM_EXPLAIN_WORKSPACE_LEN(positions, channels, top_channels, components) \
  (DECOMCAM_WORKSPACE_LEN(positions, top_channels) + (size_t)(channels) + 2 * (size_t)(positions) \
   + 3 * (size_t)(components) + ((size_t)(top_channels) + 1) / 2)

// Scratch of decomcam_bicubic_row(), of the width (W) of the maps.
#define DECOMCAM_BICUBIC_SCRATCH_LEN(width) ((size_t)(width) + 4)

// Workspace of an overlay, of the width (W) of the map and that of the picture.
#define DECOMCAM_OVERLAY_WORKSPACE_LEN(width, out_width) (DECOMCAM_BICUBIC_SCRATCH_LEN(width) + (size_t)(out_width))

// Workspace of decomcam_mask_scores(), of the width (W) of the OSSMs, that of the masks, and the number of OSSMs (Q).
#define DECOMCAM_MASK_WORKSPACE_LEN(width, out_width, components) \
  (DECOMCAM_BICUBIC_SCRATCH_LEN(width) + (size_t)(out_width) + (size_t)(components))

// Scratch of decomcam_cam(), of positions (H W): a channel's activations and gradients, and the map until it is known to be finite.
#define DECOMCAM_CAM_SCRATCH_LEN(positions) (3 * (size_t)(positions))

// Scratch of decomcam_affinity(), of positions (H W).
#define DECOMCAM_AFFINITY_SCRATCH_LEN(positions) (2 * (size_t)(positions))

// What a function returns. Numbers never change and are never used again.
enum decomcam_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Success: all outputs are written.
  DECOMCAM_STATUS_OK = 0,
  // A length, or a product of sizes, is zero, does not match or does not fit in memory; or there is no such class, channel, row or component.
  DECOMCAM_STATUS_SHAPE = 1,
  // A workspace is shorter than its macro says.
  DECOMCAM_STATUS_WORKSPACE_TOO_SMALL = 2,
  // A value is NaN or infinite, or became so when it was weighted.
  DECOMCAM_STATUS_NON_FINITE = 3,
  // The Jacobi sweeps reached their cap before all pairs were orthogonal.
  DECOMCAM_STATUS_NOT_CONVERGED = 4,
  // The number of channels P is zero or more than there are.
  DECOMCAM_STATUS_CHANNELS = 5,
  // The number of components Q is zero or more than exist.
  DECOMCAM_STATUS_COMPONENTS = 6,
  // A quantisation's scale is not finite, or its zero point is no byte.
  DECOMCAM_STATUS_QUANTISATION = 7,
  // Reserved, as are the next two.
  DECOMCAM_STATUS_NOT_A_CAPSULE = 8,
  // Reserved.
  DECOMCAM_STATUS_CAPSULE_VERSION = 9,
  // Reserved.
  DECOMCAM_STATUS_CAPSULE_DAMAGED = 10,
  // Reserved, as are the next two.
  DECOMCAM_STATUS_NOT_A_FRAME = 11,
  // Reserved.
  DECOMCAM_STATUS_FRAME_VERSION = 12,
  // Reserved.
  DECOMCAM_STATUS_FRAME_DAMAGED = 13,
  // A pointer is null. (Numbers from 100 on are the C interface's own.)
  DECOMCAM_STATUS_NULL_POINTER = 100,
  // A pointer is not aligned for what it points to.
  DECOMCAM_STATUS_MISALIGNED = 101,
  // The caller's scorer or sink failed.
  DECOMCAM_STATUS_CALLBACK = 102,
  // There is no element type, sign rule, formula or method of this number.
  DECOMCAM_STATUS_UNKNOWN_OPTION = 103,
  // The parts have been rectified: closed forms need the signs.
  DECOMCAM_STATUS_RECTIFIED = 104,
  // A buffer that is written overlaps with another one.
  DECOMCAM_STATUS_OVERLAP = 105,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum decomcam_status decomcam_status;
#else
typedef int32_t decomcam_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a value is stored.
enum decomcam_element
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // float
  DECOMCAM_ELEMENT_F32 = 0,
  // uint8_t, quantised
  DECOMCAM_ELEMENT_U8 = 1,
  // int8_t, quantised
  DECOMCAM_ELEMENT_I8 = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum decomcam_element decomcam_element;
#else
typedef uint32_t decomcam_element;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which side of a component is kept when negatives are cut off.
enum decomcam_sign
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The side that the score rewards. The usual choice.
  DECOMCAM_SIGN_SCORE = 0,
  // The largest channel loading is positive: scikit-learn since 1.5.
  DECOMCAM_SIGN_LARGEST_LOADING = 1,
  // The largest entry of the component is positive: scikit-learn before 1.5.
  DECOMCAM_SIGN_LARGEST_ENTRY = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum decomcam_sign decomcam_sign;
#else
typedef uint32_t decomcam_sign;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How the scores of masked photos become weights.
enum decomcam_formula
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The paper's overview figure: min-max of the contributions.
  DECOMCAM_FORMULA_PAPER = 0,
  // The released notebook: contributions over their maximum, zero below 0.01.
  DECOMCAM_FORMULA_NOTEBOOK = 1,
  // The first release: contributions times their softmax.
  DECOMCAM_FORMULA_V1 = 2,
  // The last release: scores over their maximum, zero below 0.001.
  DECOMCAM_FORMULA_V25 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum decomcam_formula decomcam_formula;
#else
typedef uint32_t decomcam_formula;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A class activation map that is a sum over channels. A is a channel's activation, G the gradient of the score there, sums run over positions.
enum decomcam_method
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Grad-CAM: w A with w = mean G.
  DECOMCAM_METHOD_GRAD_CAM = 0,
  // Grad-CAM++: w A with w = sum of max(0, G) a and a = G^2 / (2 G^2 + G^3 sum A + 1e-6), 0 where G is.
  DECOMCAM_METHOD_GRAD_CAM_PLUS_PLUS = 1,
  // XGrad-CAM: w A with w = sum of G A / (sum A + 1e-7).
  DECOMCAM_METHOD_X_GRAD_CAM = 2,
  // HiResCAM: G A.
  DECOMCAM_METHOD_HI_RES_CAM = 3,
  // LayerCAM: max(0, G) A.
  DECOMCAM_METHOD_LAYER_CAM = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum decomcam_method decomcam_method;
#else
typedef uint32_t decomcam_method;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The mask of one OSSM at the size of the network's input, given to a scorer. Its rows are made when decomcam_mask_row() asks for them.
typedef struct decomcam_mask decomcam_mask;

// Borrowed maps: channels x height x width numbers in memory that somebody else owns. Value (c, y, x) is element
// c * channel_stride + y * row_stride + x * column_stride of data.
//
// Fill it with decomcam_maps_chw(), decomcam_maps_hwc() or decomcam_maps_matrix(), then set scale and zero_point if the elements are bytes.
typedef struct decomcam_maps {
  // The first element.
  const void *data;
  // Elements (not bytes) in data.
  size_t len;
  // How an element is stored.
  decomcam_element element;
  // Number of maps.
  size_t channels;
  // Rows of a map.
  size_t height;
  // Columns of a map.
  size_t width;
  // Elements from one channel to the next.
  size_t channel_stride;
  // Elements from one row to the next.
  size_t row_stride;
  // Elements from one column to the next.
  size_t column_stride;
  // Bytes stand for (byte - zero_point) * scale. Not read if the elements are floats.
  float scale;
  // In the range of the bytes.
  int32_t zero_point;
  // If not null, bytes are quantised per channel: one scale for each channel, instead of scale.
  const float *scales;
  // With scales: one zero point for each channel, instead of zero_point; null if all are zero.
  const int16_t *zero_points;
} decomcam_maps;

// A linear head: logit_k = bias_k + sum over channels of weight_kc * (mean of map c).
typedef struct decomcam_head {
  // Classes x channels, from decomcam_maps_matrix(). Scales per channel of these maps are scales per class.
  struct decomcam_maps weights;
  // One for each class; null if there is none. Only scores depend on it, not explanations.
  const float *bias;
  // Number of biases: the classes, or 0.
  size_t bias_len;
} decomcam_head;

// What decomcam_explain() is asked. Zero is the usual choice where there is one.
typedef struct decomcam_question {
  // The class whose logit is explained.
  size_t class_index;
  // If not null, the class whose logit is subtracted: why the one rather than the other.
  const size_t *versus;
  // P, the channels to be selected.
  size_t channels;
  // Q, the components.
  size_t components;
  // Which side of a component is kept.
  decomcam_sign sign;
} decomcam_question;

// How far the sweeps of the Jacobi SVD got.
typedef struct decomcam_convergence {
  // Sweeps done, the last one (which only confirmed) included.
  uint32_t sweeps;
  // Rotations in the last sweep. A few may be left when the sweeps have converged: those of pairs that were orthogonal but for rounding.
  uint32_t rotations;
  // Largest |cosine| between two columns met in the last sweep.
  float largest_cosine;
  // 1 if in the last sweep no pair was further from orthogonal than rounding explains, largest_cosine <= 4 sqrt(rows) 2^-23; else 0.
  uint32_t converged;
} decomcam_convergence;

// What decomcam_decompose() found. The pointers are into its workspace: valid until that is used again.
typedef struct decomcam_parts {
  // The signed components, count x H x W; after decomcam_rectify() the OSSMs (orthogonal sub-saliency maps).
  float *components;
  // Q.
  size_t count;
  // H W, the values in one map.
  size_t positions;
  // Singular values, descending: at least Q, and one more if it exists, so that the gap behind the last component is known.
  const float *singular_values;
  // How many singular values.
  size_t singular_values_len;
  // H x W: the first-order map of the score over the selected channels, less its mean over positions.
  const float *centred_first_order;
  // 0 for signed components, 1 after decomcam_rectify(): the closed forms, which need the signs, are refused then.
  uint32_t rectified;
  // How far the sweeps got.
  struct decomcam_convergence convergence;
} decomcam_parts;

// Index of a channel: layers have at most 65,536.
typedef uint16_t decomcam_channel;

// What decomcam_explain() found. The pointers are into its workspace: valid until that is used again.
typedef struct decomcam_explanation {
  // The logit of the class, less that of the other if there is one: what is explained.
  float score;
  // OSSMs (components, rectified) and singular values.
  struct decomcam_parts parts;
  // Q: the contribution of each OSSM that the gradient predicts, over the largest: -1..1.
  const float *predicted;
  // Q: the contribution of each OSSM as it is measured, in the unit of the score.
  const float *measured;
  // Q: the weight of each OSSM in the saliency, 0..1.
  const float *weights;
  // H x W: the weighted sum of the OSSMs, not scaled.
  const float *saliency;
  // H x W: the plain class activation map less its mean over positions, over all channels.
  const float *centred_first_order;
  // P: the selected channels, largest weight first.
  const decomcam_channel *channels;
  // P.
  size_t channels_len;
} decomcam_explanation;

// What decomcam_decompose() is asked: which channels, with which weights, and how many components.
typedef struct decomcam_selection {
  // The weight of every channel of the layer, C.
  const float *weights;
  // C.
  size_t weights_len;
  // The selected channels, P, as decomcam_top_channels() gives them.
  const decomcam_channel *channels;
  // P.
  size_t channels_len;
  // Q, the components.
  size_t components;
  // Which side of a component is kept.
  decomcam_sign sign;
} decomcam_selection;

// The four weights of one output column, and where on the source they start.
typedef struct decomcam_tap {
  uint16_t first;
  float weights[4];
} decomcam_tap;

// Bicubic resampling of height x width maps to out_height x out_width, one row at a time. Filled by decomcam_bicubic_init().
typedef struct decomcam_bicubic {
  // Rows of a map.
  size_t height;
  // Columns of a map.
  size_t width;
  // Rows of a resampled map.
  size_t out_height;
  // Columns of a resampled map.
  size_t out_width;
  // The caller's: out_width taps.
  const struct decomcam_tap *taps;
} decomcam_bicubic;

// The range of a map's values, gathered row by row, for min-max scaling.
typedef struct decomcam_range {
  // The smallest value.
  float low;
  // The largest value.
  float high;
} decomcam_range;

// The caller's network: blends the photo with the blurred photo where the mask is low (decomcam_mask_row(), decomcam_blend()), runs, and writes the
// score. A null mask asks for the score of the wholly blurred photo. Returns 0 on success; any other number ends the scoring. Must return: neither a
// C++ exception nor longjmp() may leave it.
typedef int32_t (*decomcam_scorer)(void *context, struct decomcam_mask *mask, float *score);

// What decomcam_mask_scores() is asked: the maps that mask, and the network that scores.
typedef struct decomcam_masking {
  // Q x H x W.
  const float *ossms;
  // Q H W.
  size_t ossms_len;
  // From H x W to the size of the network's input.
  const struct decomcam_bicubic *bicubic;
  // The network, called 1 + Q times.
  decomcam_scorer scorer;
  // Handed to the scorer.
  void *context;
} decomcam_masking;

// A saliency map over a picture. Filled by decomcam_overlay_init().
typedef struct decomcam_overlay {
  // From the layer's size to the picture's.
  const struct decomcam_bicubic *bicubic;
  // H x W of the layer.
  const float *saliency;
  // H W.
  size_t saliency_len;
  // Of the resampled saliency, negatives cut off.
  struct decomcam_range range;
} decomcam_overlay;

// Where the bytes of a frame go: a serial port, a socket, a file. Called with a few bytes at a time, in order. Returns 0 on success; any other number ends
// the frame.
typedef int32_t (*decomcam_sink)(void *context, const uint8_t *bytes, size_t len);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The library's version: major * 65536 + minor * 256 + patch, as DECOMCAM_VERSION is the header's.
uint32_t decomcam_version(void);

// The status in words, for any number; never null.
const char *decomcam_status_name(decomcam_status status);

// 1 if the arithmetic is as the same bits everywhere need it: rounded to nearest, subnormal numbers kept (on Arm: FPSCR bits 22 to 24 zero); else 0.
uint32_t decomcam_environment_ok(void);

// Maps of floats or bytes in the order channels x height x width, row-major: ONNX, PyTorch. len is the number of elements in data. Scale is 1 and zero
// point 0 at first. Nothing is checked here: the functions that read the maps do.
struct decomcam_maps decomcam_maps_chw(decomcam_element element,
                                       const void *data,
                                       size_t len,
                                       size_t channels,
                                       size_t height,
                                       size_t width);

// The same in the order height x width x channels: TensorFlow Lite.
struct decomcam_maps decomcam_maps_hwc(decomcam_element element,
                                       const void *data,
                                       size_t len,
                                       size_t height,
                                       size_t width,
                                       size_t channels);

// The same for a matrix of rows x columns, one row after the other: the weights of a linear head, a row for each class.
struct decomcam_maps decomcam_maps_matrix(decomcam_element element,
                                          const void *data,
                                          size_t len,
                                          size_t rows,
                                          size_t columns);

// Floats of workspace for decomcam_decompose(): DECOMCAM_WORKSPACE_LEN() as a function.
size_t decomcam_workspace_len(size_t positions, size_t channels);

// Floats of workspace for decomcam_explain(): DECOMCAM_EXPLAIN_WORKSPACE_LEN() as a function.
size_t decomcam_explain_workspace_len(size_t positions, size_t channels, size_t top_channels, size_t components);

// Floats of workspace for decomcam_mask_scores(): DECOMCAM_MASK_WORKSPACE_LEN() as a function.
size_t decomcam_mask_workspace_len(size_t width, size_t out_width, size_t components);

// Floats of scratch for decomcam_bicubic_row(): DECOMCAM_BICUBIC_SCRATCH_LEN() as a function.
size_t decomcam_bicubic_scratch_len(size_t width);

// Floats of scratch for decomcam_cam(): DECOMCAM_CAM_SCRATCH_LEN() as a function.
size_t decomcam_cam_scratch_len(size_t positions);

// Floats of scratch for decomcam_affinity(): DECOMCAM_AFFINITY_SCRATCH_LEN() as a function.
size_t decomcam_affinity_scratch_len(size_t positions);

// Components that exist of so many positions and selected channels: DECOMCAM_COMPONENTS_MAX() as a function.
size_t decomcam_components_max(size_t positions, size_t channels);

// Everything about one score of a linear head (global average pooling, then a linear layer), from the activations that are pooled: which channels
// speak for it, the OSSMs, what each contributes (predicted and measured) and the saliency at the layer's size. No gradient and no second pass through
// the network.
//
// The workspace takes DECOMCAM_EXPLAIN_WORKSPACE_LEN(H * W, C, P, Q) floats; the explanation points into it.
decomcam_status decomcam_explain(const struct decomcam_head *head,
                                 const struct decomcam_maps *activations,
                                 const struct decomcam_question *question,
                                 float *workspace,
                                 size_t workspace_len,
                                 struct decomcam_explanation *explanation);

// Channel weights from gradients: weights_c = mean over positions of d score / d activation_c. gradients C x H x W; weights C.
decomcam_status decomcam_channel_weights(const struct decomcam_maps *gradients,
                                         float *weights,
                                         size_t len);

// The len channels with the largest signed weight, largest first; equal weights in the order of their index. At most 65536 weights.
decomcam_status decomcam_top_channels(const float *weights,
                                      size_t weights_len,
                                      decomcam_channel *channels,
                                      size_t len);

// The first components of the weighted, centred maps of the selected channels: matrix X = U diag(s) V' of positions x channels, components U diag(s).
//
// activations C x H x W. The workspace takes DECOMCAM_WORKSPACE_LEN(H * W, P) floats; parts points into it.
decomcam_status decomcam_decompose(const struct decomcam_maps *activations,
                                   const struct decomcam_selection *selection,
                                   float *workspace,
                                   size_t workspace_len,
                                   struct decomcam_parts *parts);

// The share of component q in the centred first-order map: the closed form of its contribution. Refused after decomcam_rectify().
decomcam_status decomcam_alignment(const struct decomcam_parts *parts,
                                   size_t q,
                                   float *alignment);

// The contributions that the gradient predicts, over the largest among them: -1..1. Refused after decomcam_rectify(). len at
// most Q.
decomcam_status decomcam_predicted(const struct decomcam_parts *parts,
                                   float *predicted,
                                   size_t len);

// The weights of the closed form: what decomcam_predicted() says, zero where that is negative. Refused after decomcam_rectify(). len at most
// Q.
decomcam_status decomcam_aligned_weights(const struct decomcam_parts *parts,
                                         float *weights,
                                         size_t len);

// Weights with which the signed components sum to the centred first-order map, if all that exist are there, and to the nearest that so many come to it
// otherwise: decomcam_integrate_sum() of the components, to which decomcam_first_order_mean() is added. Zero for a component below 1e-6 of the largest.
// Refused after decomcam_rectify(). len at most Q.
decomcam_status decomcam_exact_weights(const struct decomcam_parts *parts,
                                       float *weights,
                                       size_t len);

// Cuts negatives off: the components become OSSMs.
decomcam_status decomcam_rectify(struct decomcam_parts *parts);

// Weights of the OSSMs from the scores of the photos that they mask and the score of the wholly blurred photo. scores and weights len each.
decomcam_status decomcam_score_weights(decomcam_formula formula,
                                       const float *scores,
                                       float blurred,
                                       float *weights,
                                       size_t len);

// saliency = sum over q of weight_q * OSSM_q, at the layer's size. ossms Q x H x W; weights Q; saliency H x W.
//
// Resampling is linear, so one upsampling of this sum serves for all: clamp the resampled rows at zero and scale them with decomcam_range_scale().
decomcam_status decomcam_integrate_sum(const float *ossms,
                                       size_t ossms_len,
                                       const float *weights,
                                       size_t weights_len,
                                       float *saliency,
                                       size_t saliency_len);

// Prepares the resampling of height x width maps to out_height x out_width. taps: out_width places, filled here; they must live as long as bicubic.
decomcam_status decomcam_bicubic_init(struct decomcam_bicubic *bicubic,
                                      size_t height,
                                      size_t width,
                                      size_t out_height,
                                      size_t out_width,
                                      struct decomcam_tap *taps);

// Row y of the resampled map. map H x W; row out_width; scratch DECOMCAM_BICUBIC_SCRATCH_LEN(width) floats.
decomcam_status decomcam_bicubic_row(const struct decomcam_bicubic *bicubic,
                                     const float *map,
                                     size_t map_len,
                                     size_t y,
                                     float *scratch,
                                     size_t scratch_len,
                                     float *row,
                                     size_t row_len);

// The range before any value.
struct decomcam_range decomcam_range_empty(void);

// Widens the range to hold these values.
decomcam_status decomcam_range_include(struct decomcam_range *range, const float *values, size_t len);

// (value - low) / (high - low) in place, 0..1; all zero where the range is empty or one value. What is outside of the range becomes 0 or 1.
decomcam_status decomcam_range_scale(const struct decomcam_range *range,
                                     float *values,
                                     size_t len);

// out = max(photo * mask, blurred * (1 - mask)): the photo where the mask is high, the blurred photo where it is low. All len long.
decomcam_status decomcam_blend(const float *photo,
                               const float *blurred,
                               const float *mask,
                               float *out,
                               size_t len);

// Scores of the photo masked by each OSSM, and of the wholly blurred photo, by a network that the caller runs.
//
// scores Q. The workspace takes DECOMCAM_MASK_WORKSPACE_LEN(width, out_width, Q) floats.
decomcam_status decomcam_mask_scores(const struct decomcam_masking *masking,
                                     float *workspace,
                                     size_t workspace_len,
                                     float *scores,
                                     size_t scores_len,
                                     float *blurred);

// Row y of a mask, 0..1. row as long as the mask is wide, and in no buffer that the scoring was given. Only in a scorer, with the mask that it was given.
decomcam_status decomcam_mask_row(struct decomcam_mask *mask,
                                  size_t y,
                                  float *row,
                                  size_t len);

// Floats of workspace for the functions of an overlay: DECOMCAM_OVERLAY_WORKSPACE_LEN() as a function.
size_t decomcam_overlay_workspace_len(size_t width, size_t out_width);

// Prepares the drawing of a saliency map (H x W of the layer, as decomcam_explain() gives it) over a picture of bicubic's size, row by row: goes over the
// resampled map once to find its range. bicubic and saliency must live as long as the overlay.
//
// The workspace takes DECOMCAM_OVERLAY_WORKSPACE_LEN(width, out_width) floats.
decomcam_status decomcam_overlay_init(struct decomcam_overlay *overlay,
                                      const struct decomcam_bicubic *bicubic,
                                      const float *saliency,
                                      size_t saliency_len,
                                      float *workspace,
                                      size_t workspace_len);

// Row y of the overlay, in place of that row of the picture: red, green and blue of each pixel, a byte each. len is 3 * out_width.
//
// A pixel becomes (1 - a) picture + a colour(s), with s the saliency in 0..1, its colour in inferno, and a = 0.85 s^0.7. Pixels are those of the desktop.
decomcam_status decomcam_overlay_rgb888(const struct decomcam_overlay *overlay,
                                        size_t y,
                                        float *workspace,
                                        size_t workspace_len,
                                        uint8_t *pixels,
                                        size_t len);

// The same for pixels of 16 bits, five of red, six of green, five of blue from the highest bit down, in the machine's byte order. len is out_width.
decomcam_status decomcam_overlay_rgb565(const struct decomcam_overlay *overlay,
                                        size_t y,
                                        float *workspace,
                                        size_t workspace_len,
                                        uint16_t *pixels,
                                        size_t len);

// Bytes of a frame of H x W positions and Q parts; 0 if there is none of this size.
size_t decomcam_frame_len(size_t height, size_t width, size_t components);

// Packs what decomcam_explain() found into a frame, which `decomcam show` draws: decomcam_frame_len() bytes, given to sink a few at a time.
//
// question is what was asked; height and width are H and W of the layer; context is handed to sink. Numbers that are not finite are refused before the
// first byte.
decomcam_status decomcam_frame_write(const struct decomcam_explanation *explanation,
                                     const struct decomcam_question *question,
                                     size_t height,
                                     size_t width,
                                     decomcam_sink sink,
                                     void *context);

// pooled_c = mean over positions of activation_c. activations C x H x W; pooled C.
decomcam_status decomcam_pool(const struct decomcam_maps *activations, float *pooled, size_t len);

// The logits of pooled activations. pooled C; logits one for each class.
decomcam_status decomcam_head_logits(const struct decomcam_head *head,
                                     const float *pooled,
                                     size_t pooled_len,
                                     float *logits,
                                     size_t logits_len);

// Channel weights of the logit of a class, or of it less the logit of another (versus, may be null), on a layer of so many positions (H W). weights C.
decomcam_status decomcam_head_channel_weights(const struct decomcam_head *head,
                                              size_t class_index,
                                              const size_t *versus,
                                              size_t positions,
                                              float *weights,
                                              size_t len);

// map = sum over all channels of weight_c * activation_c: the first-order map of the score, its mean included; the plain class activation map.
//
// activations C x H x W; weights C; map H x W; scratch 2 H W.
decomcam_status decomcam_uncentred_first_order(const struct decomcam_maps *activations,
                                               const float *weights,
                                               size_t weights_len,
                                               float *scratch,
                                               size_t scratch_len,
                                               float *map,
                                               size_t map_len);

// map = sum over all channels of weight_c * (activation_c - its mean): the first-order map of the score less its mean over positions.
//
// activations C x H x W; weights C; map H x W; scratch 2 H W.
decomcam_status decomcam_centred_first_order(const struct decomcam_maps *activations,
                                             const float *weights,
                                             size_t weights_len,
                                             float *scratch,
                                             size_t scratch_len,
                                             float *map,
                                             size_t map_len);

// The mean over positions of decomcam_uncentred_first_order(): add it to the sum of components weighted by decomcam_exact_weights().
decomcam_status decomcam_first_order_mean(const struct decomcam_maps *activations,
                                          const float *weights,
                                          size_t weights_len,
                                          float *mean);

// The measured contribution of each OSSM on a linear head: the score of the features kept where the OSSM is high and blended towards their mean
// elsewhere, less the score of the features wholly blended. ossms Q x H x W; centred_first_order H x W (decomcam_centred_first_order()); scratch H W;
// contributions Q.
decomcam_status decomcam_contributions(const float *ossms,
                                       size_t ossms_len,
                                       const float *centred_first_order,
                                       size_t centred_first_order_len,
                                       float *scratch,
                                       size_t scratch_len,
                                       float *contributions,
                                       size_t contributions_len);

// The map of one of the methods that DecomCAM is held against, from activations and gradients alone, neither clamped nor scaled.
//
// activations and gradients C x H x W; scratch DECOMCAM_CAM_SCRATCH_LEN(H * W) floats; map H x W.
decomcam_status decomcam_cam(decomcam_method method,
                             const struct decomcam_maps *activations,
                             const struct decomcam_maps *gradients,
                             float *scratch,
                             size_t scratch_len,
                             float *map,
                             size_t map_len);

// Eigen-CAM: the first principal component of the activations, on the side on which their sum is above its mean. No score is in it.
//
// activations C x H x W; the workspace takes DECOMCAM_WORKSPACE_LEN(H * W, C) floats; map H x W.
decomcam_status decomcam_eigen_cam(const struct decomcam_maps *activations,
                                   float *workspace,
                                   size_t workspace_len,
                                   float *map,
                                   size_t map_len);

// EigenGrad-CAM: the first principal component of gradient times activation, on the side that the score rewards.
//
// activations and gradients C x H x W; the workspace takes DECOMCAM_WORKSPACE_LEN(H * W, C) floats; map H x W.
decomcam_status decomcam_eigen_grad_cam(const struct decomcam_maps *activations,
                                        const struct decomcam_maps *gradients,
                                        float *workspace,
                                        size_t workspace_len,
                                        float *map,
                                        size_t map_len);

// How similar the activations of each two positions are: max(0, cosine of their channels)^2, 1 on the diagonal, scaled so that rows and columns sum
// to one.
//
// activations C x H x W; scratch DECOMCAM_AFFINITY_SCRATCH_LEN(H * W) floats; matrix H W x H W.
decomcam_status decomcam_affinity(const struct decomcam_maps *activations,
                                  float *scratch,
                                  size_t scratch_len,
                                  float *matrix,
                                  size_t matrix_len);

// shared = matrix * map: each position gets the average over positions with similar activations; the mean of the map stays. matrix from
// decomcam_affinity(); map and shared len each.
decomcam_status decomcam_share(const float *matrix,
                               size_t matrix_len,
                               const float *map,
                               float *shared,
                               size_t len);

// Jacobi SVD in place: len columns of so many rows, one after the other, become U diag(s), and singular_values (len) descend.
//
// columns, follow and singular_values are changed in place, except by a call that finds a NaN or infinity among the columns. follow may be null:
// otherwise len vectors of follow_rows entries that are rotated and sorted along; start with the identity to get V. Success does not mean that the
// sweeps converged: read convergence, which must not be null.
decomcam_status decomcam_orthogonalise(float *columns,
                                       size_t columns_len,
                                       size_t rows,
                                       float *follow,
                                       size_t follow_len,
                                       size_t follow_rows,
                                       float *singular_values,
                                       size_t len,
                                       struct decomcam_convergence *convergence);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DECOMCAM_H */
