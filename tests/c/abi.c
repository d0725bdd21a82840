// Every function of decomcam.h as C calls it: what it computes on numbers that can be checked by hand, and what it refuses. Outputs must be untouched
// then. Each buffer is allocated with exactly its length, so that AddressSanitizer sees the first element beyond it.
#include "decomcam.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A size that a compiler can use must be a constant, and be what the function says.
static float at_compile_time[DECOMCAM_EXPLAIN_WORKSPACE_LEN(7 * 7, 1280, 100, 10)];

static int checks, failures;

static void check(bool good, int line, const char *what) {
    checks++;
    if (!good) {
        failures++;
        fprintf(stderr, "line %d: %s\n", line, what);
    }
}
#define CHECK(condition) check(condition, __LINE__, #condition)

static void check_status(decomcam_status got, decomcam_status want, int line, const char *call) {
    check(got == want, line, call);
    if (got != want)
        fprintf(stderr, "  is %d (%s), not %d\n", (int)got, decomcam_status_name(got), (int)want);
}
#define OK(call) check_status(call, DECOMCAM_STATUS_OK, __LINE__, #call)
#define IS(status, call) check_status(call, DECOMCAM_STATUS_##status, __LINE__, #call)

// Buffers of exactly so many elements, full of a number that nothing computes.
static void *buffers[1000];
static int buffer_count;

static void *allocated(size_t bytes) {
    void *buffer = malloc(bytes);
    if (!buffer || buffer_count == 1000)
        abort();
    return buffers[buffer_count++] = buffer;
}

static const float MARK = 7.0f;

static float *floats(size_t len) {
    float *buffer = allocated(len * sizeof *buffer);
    for (size_t i = 0; i < len; i++)
        buffer[i] = MARK;
    return buffer;
}

static float *copy(const float *values, size_t len) {
    return memcpy(floats(len), values, len * sizeof *values);
}

static bool untouched(const float *buffer, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (buffer[i] != MARK)
            return false;
    return true;
}

static bool equal(const float *got, const float *want, size_t len) {
    return memcmp(got, want, len * sizeof *got) == 0;
}

static bool near(float got, float want) {
    return fabsf(got - want) < 1e-6f;
}

// One float further by less than a float.
static float *skewed(float *pointer) {
    return (float *)(void *)((char *)pointer + 1);
}

static const float NOT_A_NUMBER = NAN;

// A pointer that is null, in a way that the compiler does not warn of.
#define NONE(type) ((type *)0)

// Two channels of 2 x 2.
enum { C = 2, H = 2, W = 2, N = H * W };
static const float VALUES[C * N] = {1, 0, 0, 0, 0, 2, 0, 1};

static decomcam_maps maps_of(const float *values) {
    return decomcam_maps_chw(DECOMCAM_ELEMENT_F32, values, C * N, C, H, W);
}

static void versions_and_names(void) {
    CHECK(decomcam_version() == DECOMCAM_VERSION);
    static const int numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 101, 102, 103};
    const int count = sizeof numbers / sizeof *numbers;
    for (int i = 0; i < count; i++) {
        CHECK(strcmp(decomcam_status_name(numbers[i]), decomcam_status_name(-1)) != 0);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(decomcam_status_name(numbers[i]), decomcam_status_name(numbers[k])) != 0);
    }
    CHECK(strcmp(decomcam_status_name(14), decomcam_status_name(-1)) == 0);
}

static void sizes(void) {
    static const size_t some[] = {0, 1, 2, 3, 4, 5, 8, 9, 12, 48, 49, 50, 64, 100, 196, 224, 499, 500, 1280, 65535};
    const size_t count = sizeof some / sizeof *some;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < count; k++) {
            size_t a = some[i], b = some[k];
            CHECK(decomcam_workspace_len(a, b) == DECOMCAM_WORKSPACE_LEN(a, b));
            CHECK(decomcam_components_max(a, b) == DECOMCAM_COMPONENTS_MAX(a, b));
            CHECK(decomcam_explain_workspace_len(a, 640, b, 7) == DECOMCAM_EXPLAIN_WORKSPACE_LEN(a, 640, b, 7));
            CHECK(decomcam_explain_workspace_len(49, a, 7, b) == DECOMCAM_EXPLAIN_WORKSPACE_LEN(49, a, 7, b));
            CHECK(decomcam_mask_workspace_len(a, b, 9) == DECOMCAM_MASK_WORKSPACE_LEN(a, b, 9));
        }
        CHECK(decomcam_bicubic_scratch_len(some[i]) == DECOMCAM_BICUBIC_SCRATCH_LEN(some[i]));
        CHECK(decomcam_cam_scratch_len(some[i]) == DECOMCAM_CAM_SCRATCH_LEN(some[i]));
        CHECK(decomcam_affinity_scratch_len(some[i]) == DECOMCAM_AFFINITY_SCRATCH_LEN(some[i]));
    }
    CHECK(decomcam_explain_workspace_len(49, 1280, 100, 10) == sizeof at_compile_time / sizeof *at_compile_time);
}

static void maps(void) {
    // The same six values of two channels in either order, as floats and as bytes.
    static const float planes[] = {1, 2, 3, 10, 20, 30}, pixels[] = {1, 10, 2, 20, 3, 30};
    static const int8_t bytes[] = {-9, 0, -8, 10, -7, 20};
    static const uint8_t unsigned_bytes[] = {119, 128, 120, 138, 121, 148};
    static const float scales[] = {1, 0.5f};
    static const int16_t zero_points[] = {-10, 0};
    float *means = floats(2);
    decomcam_maps maps = decomcam_maps_chw(DECOMCAM_ELEMENT_F32, planes, 6, 2, 1, 3);
    OK(decomcam_pool(&maps, means, 2));
    CHECK(means[0] == 2 && means[1] == 20);
    maps = decomcam_maps_hwc(DECOMCAM_ELEMENT_F32, pixels, 6, 1, 3, 2);
    OK(decomcam_pool(&maps, means, 2));
    CHECK(means[0] == 2 && means[1] == 20);
    maps = decomcam_maps_matrix(DECOMCAM_ELEMENT_F32, planes, 6, 2, 3);
    OK(decomcam_channel_weights(&maps, means, 2));
    CHECK(means[0] == 2 && means[1] == 20);
    maps = decomcam_maps_hwc(DECOMCAM_ELEMENT_I8, bytes, 6, 1, 3, 2);
    maps.zero_point = -10;
    OK(decomcam_pool(&maps, means, 2));
    CHECK(means[0] == 2 && means[1] == 20);
    maps.scales = scales;
    maps.zero_points = zero_points;
    OK(decomcam_pool(&maps, means, 2));
    CHECK(means[0] == 2 && means[1] == 5);
    maps.zero_points = NULL;
    OK(decomcam_pool(&maps, means, 2));
    CHECK(means[0] == -8 && means[1] == 5);
    maps = decomcam_maps_hwc(DECOMCAM_ELEMENT_U8, unsigned_bytes, 6, 1, 3, 2);
    maps.zero_point = 118;
    OK(decomcam_pool(&maps, means, 2));
    CHECK(means[0] == 2 && means[1] == 20);

    float *out = floats(2);
    decomcam_maps bad = maps;
    bad.zero_point = 256;
    IS(QUANTISATION, decomcam_pool(&bad, out, 2));
    bad.zero_point = INT32_MIN;
    IS(QUANTISATION, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.scale = NOT_A_NUMBER;
    IS(QUANTISATION, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.scales = skewed(floats(3));
    IS(MISALIGNED, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.element = 3;
    IS(UNKNOWN_OPTION, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.data = NULL;
    IS(NULL_POINTER, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.len = 5;
    IS(SHAPE, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.channels = SIZE_MAX;
    bad.height = SIZE_MAX;
    IS(SHAPE, decomcam_pool(&bad, out, 2));
    bad = maps;
    bad.row_stride = bad.column_stride = SIZE_MAX / 2;
    IS(SHAPE, decomcam_pool(&bad, out, 2));
    CHECK(untouched(out, 2));
}

static void weights_and_channels(void) {
    decomcam_maps good = maps_of(VALUES);
    float *weights = floats(C), *out = floats(C + 1);
    OK(decomcam_channel_weights(&good, weights, C));
    CHECK(weights[0] == 0.25f && weights[1] == 0.75f);

    float *nan = copy(VALUES, C * N), *large = copy(VALUES, C * N);
    nan[C * N - 1] = NOT_A_NUMBER;
    large[C * N - 1] = large[C * N - 2] = large[C * N - 3] = large[C * N - 4] = 3e38f;
    decomcam_maps with_nan = maps_of(nan), with_large = maps_of(large), skew = maps_of(skewed(nan));
    // A mean is finite if the values are, although their sum is not.
    OK(decomcam_pool(&with_large, weights, C));
    CHECK(weights[1] == 3e38f);
    // One element as if it were many: a call would never return.
    decomcam_maps endless = maps_of(VALUES);
    endless.channels = 1;
    endless.height = SIZE_MAX / 2;
    endless.row_stride = 0;
    endless.width = 1;
    decomcam_status (*const both[])(const decomcam_maps *, float *, size_t) = {decomcam_channel_weights, decomcam_pool};
    for (int i = 0; i < 2; i++) {
        IS(NULL_POINTER, both[i](NONE(decomcam_maps), out, C));
        IS(NULL_POINTER, both[i](&good, NONE(float), C));
        IS(MISALIGNED, both[i](&good, skewed(out), C));
        IS(MISALIGNED, both[i](&skew, out, C));
        IS(SHAPE, both[i](&good, out, C - 1));
        IS(SHAPE, both[i](&good, out, C + 1));
        IS(SHAPE, both[i](&good, out, SIZE_MAX / sizeof(float)));
        IS(NON_FINITE, both[i](&with_nan, out, C));
        IS(SHAPE, both[i](&endless, out, 1));
    }
    CHECK(untouched(out, C + 1));

    static const float some[] = {0.5f, -3, 2, 0.5f, 0, 2};
    decomcam_channel *top = allocated(4 * sizeof *top);
    OK(decomcam_top_channels(some, 6, top, 4));
    CHECK(top[0] == 2 && top[1] == 5 && top[2] == 0 && top[3] == 3);
    memset(top, 0x5a, 4 * sizeof *top);
    float *bad = copy(some, 6);
    bad[5] = NOT_A_NUMBER;
    IS(NON_FINITE, decomcam_top_channels(bad, 6, top, 4));
    IS(CHANNELS, decomcam_top_channels(some, 3, top, 4));
    IS(CHANNELS, decomcam_top_channels(some, 6, top, 0));
    IS(NULL_POINTER, decomcam_top_channels(NONE(float), 6, top, 4));
    IS(NULL_POINTER, decomcam_top_channels(some, 6, NONE(decomcam_channel), 4));
    IS(MISALIGNED, decomcam_top_channels(skewed(bad), 5, top, 4));
    IS(MISALIGNED, decomcam_top_channels(some, 6, (decomcam_channel *)(void *)((char *)top + 1), 3));
    for (int i = 0; i < 4; i++)
        CHECK(top[i] == 0x5a5a);
}

static void decomposition(void) {
    decomcam_maps good = maps_of(VALUES);
    static const float weights[] = {0.25f, 0.75f};
    static const decomcam_channel channels[] = {1, 0};
    enum { LEN = DECOMCAM_WORKSPACE_LEN(N, 2) };
    float *workspace = floats(LEN);
    decomcam_parts parts;
    const decomcam_selection both = {weights, C, channels, 2, 2, DECOMCAM_SIGN_SCORE};
    OK(decomcam_decompose(&good, &both, workspace, LEN, &parts));
    CHECK(parts.count == 2 && parts.positions == N && parts.singular_values_len == 2 && parts.convergence.converged == 1);
    CHECK(parts.components >= workspace && parts.components + 2 * N <= workspace + LEN);
    // X X' has the trace of the squares of the centred, weighted maps: .0625 * .75 + .5625 * (5 - 9 / 4).
    float squares = 0, cross = 0;
    for (int i = 0; i < N; i++)
        cross += parts.components[i] * parts.components[N + i];
    for (int q = 0; q < 2; q++)
        squares += parts.singular_values[q] * parts.singular_values[q];
    CHECK(near(squares, 0.046875f + 1.546875f) && near(cross, 0));
    CHECK(parts.singular_values[0] >= parts.singular_values[1]);
    // L is the sum of the centred maps: .25 - .0625 - .5625, 1.5 - .625, -.625, .75 - .625.
    static const float first_order[] = {-0.375f, 0.875f, -0.625f, 0.125f};
    float along = 0;
    for (int i = 0; i < N; i++) {
        CHECK(near(parts.centred_first_order[i], first_order[i]));
        along += parts.components[i] * parts.centred_first_order[i];
    }

    float alignment = MARK, *predicted = floats(3), *aligned = floats(2), *exact = floats(2);
    OK(decomcam_alignment(&parts, 0, &alignment));
    CHECK(near(alignment, along) && alignment > 0);
    alignment = MARK;
    IS(COMPONENTS, decomcam_alignment(&parts, 2, &alignment));
    IS(COMPONENTS, decomcam_alignment(&parts, SIZE_MAX, &alignment));
    IS(NULL_POINTER, decomcam_alignment(NONE(decomcam_parts), 0, &alignment));
    IS(NULL_POINTER, decomcam_alignment(&parts, 0, NONE(float)));
    IS(MISALIGNED, decomcam_alignment(&parts, 0, skewed(workspace)));
    CHECK(alignment == MARK);
    decomcam_status (*const each[])(const decomcam_parts *, float *, size_t) = {decomcam_predicted, decomcam_aligned_weights,
                                                                              decomcam_exact_weights};
    decomcam_parts null_parts = parts, skewed_parts = parts, long_parts = parts, empty_parts = parts;
    null_parts.components = NULL;
    skewed_parts.centred_first_order = skewed(workspace);
    long_parts.count = SIZE_MAX;
    empty_parts.positions = 0;
    for (int i = 0; i < 3; i++) {
        IS(COMPONENTS, each[i](&parts, predicted, 3));
        IS(NULL_POINTER, each[i](NONE(decomcam_parts), predicted, 2));
        IS(NULL_POINTER, each[i](&parts, NONE(float), 2));
        IS(MISALIGNED, each[i](&parts, skewed(predicted), 2));
        IS(NULL_POINTER, each[i](&null_parts, predicted, 2));
        IS(MISALIGNED, each[i](&skewed_parts, predicted, 2));
        IS(SHAPE, each[i](&long_parts, predicted, 2));
        IS(SHAPE, each[i](&empty_parts, predicted, 2));
    }
    decomcam_parts few_values = parts, null_values = parts;
    few_values.singular_values_len = 1;
    null_values.singular_values = NULL;
    IS(COMPONENTS, decomcam_exact_weights(&few_values, predicted, 2));
    IS(NULL_POINTER, decomcam_exact_weights(&null_values, predicted, 2));
    CHECK(untouched(predicted, 3));
    OK(decomcam_predicted(&parts, predicted, 2));
    OK(decomcam_aligned_weights(&parts, aligned, 2));
    CHECK((predicted[0] == 1 || predicted[1] == 1) && predicted[0] >= 0 && predicted[1] >= 0 && equal(predicted, aligned, 2));
    // Two components are all there are: they sum to L.
    OK(decomcam_exact_weights(&parts, exact, 2));
    for (int i = 0; i < N; i++)
        CHECK(near(exact[0] * parts.components[i] + exact[1] * parts.components[N + i], first_order[i]));

    float *before = copy(parts.components, 2 * N);
    IS(NULL_POINTER, decomcam_rectify(NONE(decomcam_parts)));
    IS(NULL_POINTER, decomcam_rectify(&null_parts));
    IS(SHAPE, decomcam_rectify(&long_parts));
    IS(SHAPE, decomcam_rectify(&empty_parts));
    OK(decomcam_rectify(&parts));
    for (int i = 0; i < 2 * N; i++)
        CHECK(parts.components[i] == (before[i] > 0 ? before[i] : 0));
    // The closed forms need the signs.
    alignment = MARK;
    predicted = floats(2);
    IS(RECTIFIED, decomcam_alignment(&parts, 0, &alignment));
    for (int i = 0; i < 3; i++)
        IS(RECTIFIED, each[i](&parts, predicted, 2));
    CHECK(alignment == MARK && untouched(predicted, 2));

    decomcam_parts out;
    memset(&out, 0x5a, sizeof out);
    decomcam_parts blank = out;
    float *nan = copy(VALUES, C * N), *fresh = floats(LEN);
    nan[C * N - 1] = NOT_A_NUMBER;
    decomcam_maps with_nan = maps_of(nan);
    static const decomcam_channel unknown[] = {0, 2};
#define DECOMPOSE(maps, weights, weights_len, channels, channels_len, q, sign, workspace, len) \
    decomcam_decompose(maps, &(const decomcam_selection){weights, weights_len, channels, channels_len, q, sign}, workspace, len, &out)
    IS(NULL_POINTER, DECOMPOSE(NONE(decomcam_maps), weights, C, channels, 2, 2, 0, fresh, LEN));
    IS(NULL_POINTER, DECOMPOSE(&good, NONE(float), C, channels, 2, 2, 0, fresh, LEN));
    IS(NULL_POINTER, DECOMPOSE(&good, weights, C, NONE(decomcam_channel), 2, 2, 0, fresh, LEN));
    IS(NULL_POINTER, DECOMPOSE(&good, weights, C, channels, 2, 2, 0, NONE(float), LEN));
    IS(MISALIGNED, DECOMPOSE(&good, weights, C, channels, 2, 2, 0, skewed(fresh), LEN - 1));
    IS(SHAPE, DECOMPOSE(&good, weights, C - 1, channels, 2, 2, 0, fresh, LEN));
    IS(SHAPE, DECOMPOSE(&good, weights, C, unknown, 2, 2, 0, fresh, LEN));
    IS(CHANNELS, DECOMPOSE(&good, weights, C, channels, 0, 2, 0, fresh, LEN));
    IS(COMPONENTS, DECOMPOSE(&good, weights, C, channels, 2, 0, 0, fresh, LEN));
    IS(COMPONENTS, DECOMPOSE(&good, weights, C, channels, 2, 3, 0, fresh, LEN));
    IS(UNKNOWN_OPTION, DECOMPOSE(&good, weights, C, channels, 2, 2, 3, fresh, LEN));
    IS(WORKSPACE_TOO_SMALL, DECOMPOSE(&good, weights, C, channels, 2, 2, 0, fresh, LEN - 1));
    IS(SHAPE, DECOMPOSE(&good, weights, C, channels, 2, 2, 0, fresh, SIZE_MAX));
    IS(NULL_POINTER, decomcam_decompose(&good, NONE(decomcam_selection), fresh, LEN, &out));
    IS(NULL_POINTER, decomcam_decompose(&good, &both, fresh, LEN, NONE(decomcam_parts)));
    CHECK(untouched(fresh, LEN));
    IS(NON_FINITE, DECOMPOSE(&with_nan, weights, C, channels, 2, 2, 0, fresh, LEN));
    CHECK(memcmp(&out, &blank, sizeof out) == 0);
}

static void integration(void) {
    static const float scores[] = {0.5f, 0.25f, 0.75f}, inner[] = {0.5f, 0, 1};
    float *weights = floats(3), *out = floats(3), *bad = copy(scores, 3);
    bad[2] = NOT_A_NUMBER;
    OK(decomcam_score_weights(DECOMCAM_FORMULA_PAPER, scores, 0.125f, weights, 3));
    CHECK(equal(weights, inner, 3));
    OK(decomcam_score_weights(DECOMCAM_FORMULA_NOTEBOOK, scores, 0.25f, weights, 3));
    CHECK(equal(weights, inner, 3));
    OK(decomcam_score_weights(DECOMCAM_FORMULA_V25, scores, 0.25f, weights, 3));
    CHECK(weights[2] == 1 && near(weights[1], 1.0f / 3));
    OK(decomcam_score_weights(DECOMCAM_FORMULA_V1, scores, 0.25f, weights, 3));
    float exponents = 1 + expf(-0.25f) + expf(-0.5f);
    CHECK(near(weights[2], 0.5f / exponents) && weights[1] == 0);
    IS(UNKNOWN_OPTION, decomcam_score_weights(4, scores, 0, out, 3));
    IS(NON_FINITE, decomcam_score_weights(DECOMCAM_FORMULA_V1, bad, 0, out, 3));
    IS(NON_FINITE, decomcam_score_weights(DECOMCAM_FORMULA_PAPER, scores, NOT_A_NUMBER, out, 3));
    IS(COMPONENTS, decomcam_score_weights(DECOMCAM_FORMULA_PAPER, scores, 0, out, 0));
    IS(NULL_POINTER, decomcam_score_weights(DECOMCAM_FORMULA_PAPER, NONE(float), 0, out, 3));
    IS(NULL_POINTER, decomcam_score_weights(DECOMCAM_FORMULA_PAPER, scores, 0, NONE(float), 3));
    IS(MISALIGNED, decomcam_score_weights(DECOMCAM_FORMULA_PAPER, skewed(bad), 0, out, 2));
    CHECK(untouched(out, 3));

    static const float ossms[] = {1, 2, 3, 10, 0, 1}, two[] = {0.5f, 2}, sum[] = {20.5f, 1, 3.5f};
    float *saliency = floats(3), *nan = copy(ossms, 6);
    nan[5] = NOT_A_NUMBER;
    OK(decomcam_integrate_sum(ossms, 6, two, 2, saliency, 3));
    CHECK(equal(saliency, sum, 3));
    IS(SHAPE, decomcam_integrate_sum(ossms, 5, two, 2, out, 3));
    IS(SHAPE, decomcam_integrate_sum(ossms, 6, two, 1, out, 3));
    IS(SHAPE, decomcam_integrate_sum(ossms, 6, two, 2, out, 0));
    IS(NON_FINITE, decomcam_integrate_sum(nan, 6, two, 2, out, 3));
    IS(NON_FINITE, decomcam_integrate_sum(ossms, 6, nan + 4, 2, out, 3));
    IS(NULL_POINTER, decomcam_integrate_sum(NONE(float), 6, two, 2, out, 3));
    IS(NULL_POINTER, decomcam_integrate_sum(ossms, 6, NONE(float), 2, out, 3));
    IS(NULL_POINTER, decomcam_integrate_sum(ossms, 6, two, 2, NONE(float), 3));
    IS(MISALIGNED, decomcam_integrate_sum(ossms, 6, two, 2, skewed(out), 2));
    CHECK(untouched(out, 3));
}

// A stand-in for a network, which scores one pixel of the mask, or does what it is told to do wrong.
struct network {
    int calls;
    int fail_at;
    float blurred;
};

static int32_t score(void *context, decomcam_mask *mask, float *score) {
    struct network *network = context;
    *score = network->blurred;
    if (network->calls++ == network->fail_at)
        return -1;
    if (!mask)
        return 0;
    float *row = floats(5);
    IS(SHAPE, decomcam_mask_row(mask, 4, row, 5));
    IS(SHAPE, decomcam_mask_row(mask, 0, row, 4));
    IS(NULL_POINTER, decomcam_mask_row(mask, 0, NONE(float), 5));
    IS(MISALIGNED, decomcam_mask_row(mask, 0, skewed(row), 4));
    IS(NULL_POINTER, decomcam_mask_row(NONE(decomcam_mask), 0, row, 5));
    CHECK(untouched(row, 5));
    OK(decomcam_mask_row(mask, 0, row, 5));
    for (int x = 0; x < 5; x++)
        CHECK(row[x] >= 0 && row[x] <= 1);
    *score = row[0];
    return 0;
}

static void resampling_and_masks(void) {
    static const float map[] = {0, 1, 2, 3, 4, 5};
    decomcam_tap *taps = allocated(5 * sizeof *taps);
    decomcam_bicubic bicubic;
    float *scratch = floats(DECOMCAM_BICUBIC_SCRATCH_LEN(3)), *row = floats(3), *out = floats(5);
    // The same size is the same map.
    OK(decomcam_bicubic_init(&bicubic, 2, 3, 2, 3, taps));
    OK(decomcam_bicubic_row(&bicubic, map, 6, 1, scratch, 7, row, 3));
    CHECK(equal(row, map + 3, 3));

    OK(decomcam_bicubic_init(&bicubic, 2, 3, 4, 5, taps));
    IS(SHAPE, decomcam_bicubic_row(&bicubic, map, 5, 0, scratch, 7, out, 5));
    IS(SHAPE, decomcam_bicubic_row(&bicubic, map, 6, 4, scratch, 7, out, 5));
    IS(SHAPE, decomcam_bicubic_row(&bicubic, map, 6, 0, scratch, 7, out, 4));
    IS(WORKSPACE_TOO_SMALL, decomcam_bicubic_row(&bicubic, map, 6, 0, scratch, 6, out, 5));
    IS(NULL_POINTER, decomcam_bicubic_row(NONE(decomcam_bicubic), map, 6, 0, scratch, 7, out, 5));
    IS(NULL_POINTER, decomcam_bicubic_row(&bicubic, NONE(float), 6, 0, scratch, 7, out, 5));
    IS(NULL_POINTER, decomcam_bicubic_row(&bicubic, map, 6, 0, NONE(float), 7, out, 5));
    IS(NULL_POINTER, decomcam_bicubic_row(&bicubic, map, 6, 0, scratch, 7, NONE(float), 5));
    IS(MISALIGNED, decomcam_bicubic_row(&bicubic, map, 6, 0, skewed(scratch), 6, out, 5));
    decomcam_bicubic bad = bicubic;
    bad.height = SIZE_MAX;
    IS(SHAPE, decomcam_bicubic_row(&bad, map, 6, 0, scratch, 7, out, 5));
    bad = bicubic;
    bad.taps = NULL;
    IS(NULL_POINTER, decomcam_bicubic_row(&bad, map, 6, 0, scratch, 7, out, 5));
    CHECK(untouched(out, 5));
    bad = bicubic;
    IS(SHAPE, decomcam_bicubic_init(&bad, 0, 3, 4, 5, taps));
    IS(SHAPE, decomcam_bicubic_init(&bad, 2, 65536, 4, 5, taps));
    IS(SHAPE, decomcam_bicubic_init(&bad, 2, 3, 0, 5, taps));
    IS(SHAPE, decomcam_bicubic_init(&bad, 2, 3, 4, 0, taps));
    IS(SHAPE, decomcam_bicubic_init(&bad, 2, 3, 4, SIZE_MAX, taps));
    IS(NULL_POINTER, decomcam_bicubic_init(&bad, 2, 3, 4, 5, NONE(decomcam_tap)));
    IS(NULL_POINTER, decomcam_bicubic_init(NONE(decomcam_bicubic), 2, 3, 4, 5, taps));
    CHECK(memcmp(&bad, &bicubic, sizeof bad) == 0);

    decomcam_range range = decomcam_range_empty();
    float *values = copy(map, 6), *marked = floats(2);
    OK(decomcam_range_scale(&range, marked, 2));
    CHECK(marked[0] == 0 && marked[1] == 0);
    OK(decomcam_range_include(&range, map + 1, 2));
    OK(decomcam_range_include(&range, map + 3, 2));
    CHECK(range.low == 1 && range.high == 4);
    IS(NULL_POINTER, decomcam_range_include(&range, NONE(float), 2));
    IS(NULL_POINTER, decomcam_range_include(NONE(decomcam_range), map, 2));
    IS(MISALIGNED, decomcam_range_include(&range, skewed(values), 2));
    IS(NULL_POINTER, decomcam_range_scale(&range, NONE(float), 2));
    IS(NULL_POINTER, decomcam_range_scale(NONE(decomcam_range), values, 2));
    IS(MISALIGNED, decomcam_range_scale(&range, skewed(values), 2));
    CHECK(range.low == 1 && range.high == 4 && equal(values, map, 6));
    OK(decomcam_range_scale(&range, values, 6));
    CHECK(values[1] == 0 && values[4] == 1);

    static const float photo[] = {1, 0.5f}, blurred[] = {0.25f, 0.5f}, mask[] = {0.75f, 0.25f}, blended[] = {0.75f, 0.375f};
    float *mixed = floats(2);
    OK(decomcam_blend(photo, blurred, mask, mixed, 2));
    CHECK(equal(mixed, blended, 2));
    mixed = floats(2);
    float *in_place = copy(mask, 2);
    IS(OVERLAP, decomcam_blend(photo, blurred, in_place, in_place, 2));
    CHECK(equal(in_place, mask, 2));
    IS(NULL_POINTER, decomcam_blend(NONE(float), blurred, mask, mixed, 2));
    IS(NULL_POINTER, decomcam_blend(photo, NONE(float), mask, mixed, 2));
    IS(NULL_POINTER, decomcam_blend(photo, blurred, NONE(float), mixed, 2));
    IS(NULL_POINTER, decomcam_blend(photo, blurred, mask, NONE(float), 2));
    IS(MISALIGNED, decomcam_blend(photo, blurred, mask, skewed(mixed), 1));
    CHECK(untouched(mixed, 2));

    static const float ossms[] = {0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0};
    enum { LEN = DECOMCAM_MASK_WORKSPACE_LEN(3, 5, 2) };
    float *workspace = floats(LEN), *scores = floats(2), base = MARK;
    struct network network = {0, -1, 0.125f};
    const decomcam_masking masking = {ossms, 12, &bicubic, score, &network};
    OK(decomcam_mask_scores(&masking, workspace, LEN, scores, 2, &base));
    CHECK(network.calls == 3 && base == 0.125f && scores[0] == 0 && scores[1] == 1);
    scores = floats(2);
    base = MARK;
    for (int call = 0; call < 3; call++) {
        network = (struct network){0, call, 0.125f};
        IS(CALLBACK, decomcam_mask_scores(&masking, workspace, LEN, scores, 2, &base));
        CHECK(network.calls == call + 1);
    }
    network = (struct network){0, -1, NOT_A_NUMBER};
    IS(NON_FINITE, decomcam_mask_scores(&masking, workspace, LEN, scores, 2, &base));
#define SCORES(ossms, len, bicubic, scorer, workspace, workspace_len, scores, count, blurred) \
    decomcam_mask_scores(&(const decomcam_masking){ossms, len, bicubic, scorer, &network}, workspace, workspace_len, scores, count, blurred)
    network.calls = 0;
    IS(NULL_POINTER, decomcam_mask_scores(NONE(decomcam_masking), workspace, LEN, scores, 2, &base));
    IS(NULL_POINTER, SCORES(NONE(float), 12, &bicubic, score, workspace, LEN, scores, 2, &base));
    IS(NULL_POINTER, SCORES(ossms, 12, NONE(decomcam_bicubic), score, workspace, LEN, scores, 2, &base));
    IS(NULL_POINTER, SCORES(ossms, 12, &bicubic, (decomcam_scorer)0, workspace, LEN, scores, 2, &base));
    IS(NULL_POINTER, SCORES(ossms, 12, &bicubic, score, NONE(float), LEN, scores, 2, &base));
    IS(NULL_POINTER, SCORES(ossms, 12, &bicubic, score, workspace, LEN, NONE(float), 2, &base));
    IS(NULL_POINTER, SCORES(ossms, 12, &bicubic, score, workspace, LEN, scores, 2, NONE(float)));
    IS(MISALIGNED, SCORES(ossms, 12, &bicubic, score, workspace, LEN, scores, 2, skewed(workspace)));
    float *nan = copy(ossms, 12);
    nan[11] = NOT_A_NUMBER;
    IS(NON_FINITE, SCORES(nan, 12, &bicubic, score, workspace, LEN, scores, 2, &base));
    IS(SHAPE, SCORES(ossms, 11, &bicubic, score, workspace, LEN, scores, 2, &base));
    IS(WORKSPACE_TOO_SMALL, SCORES(ossms, 12, &bicubic, score, workspace, LEN - 1, scores, 2, &base));
    CHECK(network.calls == 0 && untouched(scores, 2) && base == MARK);
}

static void drawing(void) {
    enum { W = 5, H = 4, LEN = DECOMCAM_OVERLAY_WORKSPACE_LEN(2, W) };
    CHECK(decomcam_overlay_workspace_len(2, W) == LEN);
    static const float saliency[] = {0, 1, -2, 4};
    float *workspace = floats(LEN), *nan = copy(saliency, 4);
    nan[3] = NOT_A_NUMBER;
    decomcam_tap *taps = allocated(W * sizeof *taps);
    decomcam_bicubic bicubic;
    OK(decomcam_bicubic_init(&bicubic, 2, 2, H, W, taps));
    decomcam_overlay overlay, blank;
    memset(&overlay, 0x5a, sizeof overlay);
    blank = overlay;
    IS(NULL_POINTER, decomcam_overlay_init(NONE(decomcam_overlay), &bicubic, saliency, 4, workspace, LEN));
    IS(NULL_POINTER, decomcam_overlay_init(&overlay, NONE(decomcam_bicubic), saliency, 4, workspace, LEN));
    IS(NULL_POINTER, decomcam_overlay_init(&overlay, &bicubic, NONE(float), 4, workspace, LEN));
    IS(NULL_POINTER, decomcam_overlay_init(&overlay, &bicubic, saliency, 4, NONE(float), LEN));
    IS(SHAPE, decomcam_overlay_init(&overlay, &bicubic, saliency, 3, workspace, LEN));
    IS(WORKSPACE_TOO_SMALL, decomcam_overlay_init(&overlay, &bicubic, saliency, 4, workspace, LEN - 1));
    IS(NON_FINITE, decomcam_overlay_init(&overlay, &bicubic, nan, 4, workspace, LEN));
    CHECK(memcmp(&overlay, &blank, sizeof overlay) == 0);
    OK(decomcam_overlay_init(&overlay, &bicubic, saliency, 4, workspace, LEN));
    CHECK(overlay.range.low == 0 && overlay.range.high > 4);

    // The lower right is salient: its colour is the last of inferno, 85 parts of a hundred; the lower left, which is negative, is as it was.
    uint8_t pixels[3 * W] = {0};
    OK(decomcam_overlay_rgb888(&overlay, H - 1, workspace, LEN, pixels, 3 * W));
    CHECK(pixels[3 * W - 3] == 214 && pixels[3 * W - 2] == 217 && pixels[3 * W - 1] == 139);
    memset(pixels, 9, sizeof pixels);
    OK(decomcam_overlay_rgb888(&overlay, H - 1, workspace, LEN, pixels, 3 * W));
    CHECK(pixels[0] == 9 && pixels[1] == 9 && pixels[2] == 9);
    uint16_t row[W] = {0};
    OK(decomcam_overlay_rgb565(&overlay, H - 1, workspace, LEN, row, W));
    CHECK(row[W - 1] == ((214 >> 3) << 11 | (217 >> 2) << 5 | 139 >> 3));
    memset(pixels, 9, sizeof pixels);
    memset(row, 9, sizeof row);
    IS(SHAPE, decomcam_overlay_rgb888(&overlay, H, workspace, LEN, pixels, 3 * W));
    IS(SHAPE, decomcam_overlay_rgb888(&overlay, 0, workspace, LEN, pixels, 3 * W - 1));
    IS(SHAPE, decomcam_overlay_rgb888(&overlay, 0, workspace, LEN, pixels, 3 * W - 3));
    IS(SHAPE, decomcam_overlay_rgb565(&overlay, 0, workspace, LEN, row, W - 1));
    IS(NULL_POINTER, decomcam_overlay_rgb888(NONE(decomcam_overlay), 0, workspace, LEN, pixels, 3 * W));
    IS(NULL_POINTER, decomcam_overlay_rgb888(&overlay, 0, NONE(float), LEN, pixels, 3 * W));
    IS(NULL_POINTER, decomcam_overlay_rgb888(&overlay, 0, workspace, LEN, NONE(uint8_t), 3 * W));
    IS(NULL_POINTER, decomcam_overlay_rgb565(&overlay, 0, workspace, LEN, NONE(uint16_t), W));
    IS(WORKSPACE_TOO_SMALL, decomcam_overlay_rgb888(&overlay, 0, workspace, LEN - 1, pixels, 3 * W));
    for (int i = 0; i < 3 * W; i++)
        CHECK(pixels[i] == 9 && row[i / 3] == 0x0909);
}

struct wire {
    uint8_t bytes[200];
    size_t len, limit;
};

static int32_t send_to(void *context, const uint8_t *bytes, size_t len) {
    struct wire *wire = context;
    if (wire->len + len > wire->limit)
        return -1;
    memcpy(wire->bytes + wire->len, bytes, len);
    wire->len += len;
    return 0;
}

static void frames(void) {
    float components[] = {0, 2, 1, 0}, values[] = {3}, map[] = {0, 0, 0, 0}, predicted[] = {1}, measured[] = {0.5f};
    float weights[] = {1}, saliency[] = {0, 2, 1, 0};
    decomcam_parts parts = {components, 1, 4, values, 1, map, 1, {1, 0, 0, 1}};
    decomcam_explanation why = {2.5f, parts, predicted, measured, weights, saliency, map, NULL, 0};
    static const size_t versus = 7;
    decomcam_question question = {.class_index = 3, .versus = &versus};
    struct wire wire = {{0}, 0, 200};
    CHECK(decomcam_frame_len(2, 2, 1) == 24 + 8 + 24 + 4 && decomcam_frame_len(0, 2, 1) == 0);
    OK(decomcam_frame_write(&why, &question, 2, 2, send_to, &wire));
    static const uint8_t start[] = {'D', 'C', 'F', 'R', 1, 0, 2, 0, 2, 0, 1, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0x20, 0x40};
    CHECK(wire.len == decomcam_frame_len(2, 2, 1) && memcmp(wire.bytes, start, sizeof start) == 0);
    CHECK(wire.bytes[28] == 0 && wire.bytes[29] == 255 && wire.bytes[30] == 128 && wire.bytes[31] == 0);
    wire = (struct wire){{0}, 0, 30};
    IS(CALLBACK, decomcam_frame_write(&why, &question, 2, 2, send_to, &wire));
    wire.len = 0;
    IS(NULL_POINTER, decomcam_frame_write(NONE(decomcam_explanation), &question, 2, 2, send_to, &wire));
    IS(NULL_POINTER, decomcam_frame_write(&why, NONE(decomcam_question), 2, 2, send_to, &wire));
    IS(NULL_POINTER, decomcam_frame_write(&why, &question, 2, 2, (decomcam_sink)0, &wire));
    IS(SHAPE, decomcam_frame_write(&why, &question, 2, 3, send_to, &wire));
    why.saliency = NULL;
    IS(NULL_POINTER, decomcam_frame_write(&why, &question, 2, 2, send_to, &wire));
    why.saliency = saliency;
    saliency[3] = NOT_A_NUMBER;
    IS(NON_FINITE, decomcam_frame_write(&why, &question, 2, 2, send_to, &wire));
    CHECK(wire.len == 0);
}

static void linear_head(void) {
    // Three classes on two channels.
    static const float matrix[] = {1, 2, 3, -1, 0, 0.5f}, bias[] = {0.5f, 0, -1}, pooled[] = {2, 4};
    static const size_t versus = 0, unknown = 3;
    decomcam_head head = {decomcam_maps_matrix(DECOMCAM_ELEMENT_F32, matrix, 6, 3, 2), bias, 3};
    float *logits = floats(3), *weights = floats(2), *out = floats(3);
    OK(decomcam_head_logits(&head, pooled, 2, logits, 3));
    CHECK(logits[0] == 10.5f && logits[1] == 2 && logits[2] == 1);
    decomcam_head without = head;
    without.bias = NULL;
    OK(decomcam_head_logits(&without, pooled, 2, logits, 3));
    CHECK(logits[0] == 10 && logits[1] == 2 && logits[2] == 2);
    OK(decomcam_head_channel_weights(&head, 1, NONE(size_t), 4, weights, 2));
    CHECK(weights[0] == 0.75f && weights[1] == -0.25f);
    OK(decomcam_head_channel_weights(&head, 1, &versus, 4, weights, 2));
    CHECK(weights[0] == 0.5f && weights[1] == -0.75f);

    float *nan = copy(matrix, 6);
    nan[5] = NOT_A_NUMBER;
    decomcam_head with_nan = head, short_bias = head, skewed_bias = head, null_weights = head, not_a_matrix = head;
    with_nan.weights.data = nan;
    short_bias.bias_len = 2;
    skewed_bias.bias = skewed(nan);
    null_weights.weights.data = NULL;
    not_a_matrix.weights.height = 2;
    not_a_matrix.weights.channels = 1;
    IS(NON_FINITE, decomcam_head_logits(&with_nan, pooled, 2, out, 3));
    IS(SHAPE, decomcam_head_logits(&short_bias, pooled, 2, out, 3));
    IS(MISALIGNED, decomcam_head_logits(&skewed_bias, pooled, 2, out, 3));
    IS(NULL_POINTER, decomcam_head_logits(&null_weights, pooled, 2, out, 3));
    IS(SHAPE, decomcam_head_logits(&not_a_matrix, pooled, 2, out, 3));
    IS(SHAPE, decomcam_head_logits(&head, pooled, 1, out, 3));
    IS(SHAPE, decomcam_head_logits(&head, pooled, 2, out, 2));
    IS(NULL_POINTER, decomcam_head_logits(NONE(decomcam_head), pooled, 2, out, 3));
    IS(NULL_POINTER, decomcam_head_logits(&head, NONE(float), 2, out, 3));
    IS(NULL_POINTER, decomcam_head_logits(&head, pooled, 2, NONE(float), 3));
    IS(MISALIGNED, decomcam_head_logits(&head, pooled, 2, skewed(out), 2));
    IS(NON_FINITE, decomcam_head_channel_weights(&with_nan, 2, NONE(size_t), 4, out, 2));
    IS(SHAPE, decomcam_head_channel_weights(&head, 3, NONE(size_t), 4, out, 2));
    IS(SHAPE, decomcam_head_channel_weights(&head, 1, &unknown, 4, out, 2));
    IS(SHAPE, decomcam_head_channel_weights(&head, 1, &versus, 0, out, 2));
    IS(SHAPE, decomcam_head_channel_weights(&head, 1, &versus, 4, out, 3));
    IS(NULL_POINTER, decomcam_head_channel_weights(NONE(decomcam_head), 1, &versus, 4, out, 2));
    IS(NULL_POINTER, decomcam_head_channel_weights(&head, 1, &versus, 4, NONE(float), 2));
    IS(MISALIGNED, decomcam_head_channel_weights(&head, 1, (const size_t *)(const void *)skewed(nan), 4, out, 2));
    CHECK(untouched(out, 3));

    decomcam_maps good = maps_of(VALUES);
    static const float two[] = {0.25f, 0.75f};
    float *scratch = floats(2 * N), *map = floats(N), *bad = copy(VALUES, C * N);
    static const float first_order[] = {-0.375f, 0.875f, -0.625f, 0.125f};
    static const float uncentred[] = {0.25f, 1.5f, 0, 0.75f};
    decomcam_status (*const each[])(const decomcam_maps *, const float *, size_t, float *, size_t, float *,
                                    size_t) = {decomcam_centred_first_order, decomcam_uncentred_first_order};
    const float *const want[] = {first_order, uncentred};
    bad[7] = NOT_A_NUMBER;
    decomcam_maps nan_maps = maps_of(bad);
    for (int i = 0; i < 2; i++) {
        map = floats(N);
        OK(each[i](&good, two, C, scratch, 2 * N, map, N));
        CHECK(equal(map, want[i], N));
        map = floats(N + 1);
        IS(NON_FINITE, each[i](&nan_maps, two, C, scratch, 2 * N, map, N));
        IS(WORKSPACE_TOO_SMALL, each[i](&good, two, C, scratch, 2 * N - 1, map, N));
        IS(SHAPE, each[i](&good, two, 1, scratch, 2 * N, map, N));
        IS(SHAPE, each[i](&good, two, C, scratch, 2 * N, map, N - 1));
        IS(NULL_POINTER, each[i](NONE(decomcam_maps), two, C, scratch, 2 * N, map, N));
        IS(NULL_POINTER, each[i](&good, NONE(float), C, scratch, 2 * N, map, N));
        IS(NULL_POINTER, each[i](&good, two, C, NONE(float), 2 * N, map, N));
        IS(NULL_POINTER, each[i](&good, two, C, scratch, 2 * N, NONE(float), N));
        IS(MISALIGNED, each[i](&good, two, C, scratch, 2 * N, skewed(map), N));
        CHECK(untouched(map, N + 1));
    }
    float mean = MARK;
    OK(decomcam_first_order_mean(&good, two, C, &mean));
    CHECK(mean == 0.625f);
    mean = MARK;
    IS(NON_FINITE, decomcam_first_order_mean(&nan_maps, two, C, &mean));
    IS(SHAPE, decomcam_first_order_mean(&good, two, 1, &mean));
    IS(NULL_POINTER, decomcam_first_order_mean(NONE(decomcam_maps), two, C, &mean));
    IS(NULL_POINTER, decomcam_first_order_mean(&good, NONE(float), C, &mean));
    IS(NULL_POINTER, decomcam_first_order_mean(&good, two, C, NONE(float)));
    IS(MISALIGNED, decomcam_first_order_mean(&good, two, C, skewed(map)));
    CHECK(mean == MARK);

    // Two OSSMs: the mask of the first is (0, 1, 0, .5), that of the second nothing.
    static const float ossms[] = {0, 2, 0, 1, 3, 3, 3, 3};
    float *measured = floats(2), *nan_ossms = copy(ossms, 8), *result = floats(2);
    nan_ossms[0] = NOT_A_NUMBER;
    OK(decomcam_contributions(ossms, 8, first_order, N, scratch, N, measured, 2));
    CHECK(measured[0] == 0.9375f && measured[1] == 0);
    IS(NON_FINITE, decomcam_contributions(nan_ossms, 8, first_order, N, scratch, N, result, 2));
    IS(NON_FINITE, decomcam_contributions(ossms, 8, nan_ossms, N, scratch, N, result, 2));
    IS(SHAPE, decomcam_contributions(ossms, 7, first_order, N, scratch, N, result, 2));
    IS(SHAPE, decomcam_contributions(ossms, 8, first_order, 0, scratch, N, result, 2));
    IS(WORKSPACE_TOO_SMALL, decomcam_contributions(ossms, 8, first_order, N, scratch, N - 1, result, 2));
    IS(NULL_POINTER, decomcam_contributions(NONE(float), 8, first_order, N, scratch, N, result, 2));
    IS(NULL_POINTER, decomcam_contributions(ossms, 8, NONE(float), N, scratch, N, result, 2));
    IS(NULL_POINTER, decomcam_contributions(ossms, 8, first_order, N, NONE(float), N, result, 2));
    IS(NULL_POINTER, decomcam_contributions(ossms, 8, first_order, N, scratch, N, NONE(float), 2));
    IS(MISALIGNED, decomcam_contributions(ossms, 8, first_order, N, scratch, N, skewed(result), 1));
    CHECK(untouched(result, 2));
}

static void everything_at_once(void) {
    static const float matrix[] = {1, 3, 0.5f, -1}, bias[] = {0.25f, 1};
    static const size_t versus = 1, unknown = 2;
    const decomcam_head head = {decomcam_maps_matrix(DECOMCAM_ELEMENT_F32, matrix, 4, 2, 2), bias, 2};
    const decomcam_maps good = maps_of(VALUES);
    const decomcam_question question = {.class_index = 0, .channels = 2, .components = 2};
    enum { LEN = DECOMCAM_EXPLAIN_WORKSPACE_LEN(N, C, 2, 2) };
    float *workspace = floats(LEN);
    decomcam_explanation found;
    OK(decomcam_explain(&head, &good, &question, workspace, LEN, &found));
    // Means of the maps: .25 and .75.
    CHECK(found.score == 0.25f + 0.25f + 2.25f && found.parts.count == 2 && found.parts.positions == N);
    CHECK(found.channels_len == 2 && found.channels[0] == 1 && found.channels[1] == 0);
    // Weights .25 and .75, as in the stages above.
    static const float first_order[] = {-0.375f, 0.875f, -0.625f, 0.125f};
    CHECK(equal(found.centred_first_order, first_order, N));
    for (int i = 0; i < N; i++) {
        float sum = found.weights[0] * found.parts.components[i] + found.weights[1] * found.parts.components[N + i];
        CHECK(near(found.saliency[i], sum) && found.parts.components[i] >= 0);
    }
    CHECK((found.predicted[0] == 1 || found.predicted[1] == 1) && found.measured[0] > 0);
    decomcam_question other = question;
    other.versus = &versus;
    OK(decomcam_explain(&head, &good, &other, workspace, LEN, &found));
    CHECK(near(found.score, 2.75f - 0.375f));

    decomcam_explanation out;
    memset(&out, 0x5a, sizeof out);
    decomcam_explanation blank = out;
    float *fresh = floats(LEN), *nan = copy(VALUES, C * N);
    nan[7] = NOT_A_NUMBER;
    decomcam_maps with_nan = maps_of(nan), skew = maps_of(skewed(nan)), one_channel = good;
    one_channel.channels = 1;
    other = question;
    other.channels = other.components = 1;
    IS(SHAPE, decomcam_explain(&head, &one_channel, &other, fresh, LEN, &out));
    IS(NULL_POINTER, decomcam_explain(NONE(decomcam_head), &good, &question, fresh, LEN, &out));
    IS(NULL_POINTER, decomcam_explain(&head, NONE(decomcam_maps), &question, fresh, LEN, &out));
    IS(NULL_POINTER, decomcam_explain(&head, &good, NONE(decomcam_question), fresh, LEN, &out));
    IS(NULL_POINTER, decomcam_explain(&head, &good, &question, NONE(float), LEN, &out));
    IS(NULL_POINTER, decomcam_explain(&head, &good, &question, fresh, LEN, NONE(decomcam_explanation)));
    IS(MISALIGNED, decomcam_explain(&head, &skew, &question, fresh, LEN, &out));
    IS(MISALIGNED, decomcam_explain(&head, &good, &question, skewed(fresh), LEN - 1, &out));
    IS(WORKSPACE_TOO_SMALL, decomcam_explain(&head, &good, &question, fresh, LEN - 1, &out));
    IS(WORKSPACE_TOO_SMALL, decomcam_explain(&head, &good, &question, fresh, 0, &out));
#define WITH(change) (other = question, other.change, decomcam_explain(&head, &good, &other, fresh, LEN, &out))
    IS(SHAPE, WITH(class_index = 2));
    IS(SHAPE, WITH(versus = &unknown));
    IS(CHANNELS, WITH(channels = 0));
    IS(CHANNELS, WITH(channels = 3));
    IS(CHANNELS, WITH(channels = SIZE_MAX));
    IS(COMPONENTS, WITH(components = 0));
    IS(COMPONENTS, WITH(components = 3));
    IS(COMPONENTS, WITH(components = SIZE_MAX));
    IS(UNKNOWN_OPTION, WITH(sign = 3));
    CHECK(untouched(fresh, LEN));
    IS(NON_FINITE, decomcam_explain(&head, &with_nan, &question, fresh, LEN, &out));
    CHECK(memcmp(&out, &blank, sizeof out) == 0);
}

static void decomposition_of_matrices(void) {
    // Columns (3, 4) and (0, 5): singular values sqrt(45) and sqrt(5).
    static const float matrix[] = {3, 4, 0, 5}, identity[] = {1, 0, 0, 1};
    float *columns = copy(matrix, 4), *v = copy(identity, 4), *values = floats(2);
    decomcam_convergence convergence;
    OK(decomcam_orthogonalise(columns, 4, 2, v, 4, 2, values, 2, &convergence));
    CHECK(convergence.converged == 1 && convergence.rotations == 0 && convergence.sweeps > 0);
    CHECK(near(values[0], sqrtf(45)) && near(values[1], sqrtf(5)));
    // Their cosine is at most sqrt(rows) 2^-23: what is above is rotated.
    CHECK(fabsf(columns[0] * columns[2] + columns[1] * columns[3]) <= values[0] * values[1] * sqrtf(2) * 0x1p-23f);
    for (int k = 0; k < 2; k++) // A v_k = s_k u_k
        for (int row = 0; row < 2; row++)
            CHECK(fabsf(matrix[row] * v[2 * k] + matrix[2 + row] * v[2 * k + 1] - columns[2 * k + row]) < 4e-6f);
    float *alone = copy(matrix, 4);
    OK(decomcam_orthogonalise(alone, 4, 2, NONE(float), 0, 0, values, 2, &convergence));
    CHECK(equal(alone, columns, 4));

    float *kept = copy(matrix, 4), *out = floats(2), *nan = copy(matrix, 4);
    nan[3] = NOT_A_NUMBER;
    float *kept_nan = copy(nan, 4), *kept_v = copy(identity, 4);
    memset(&convergence, 0x5a, sizeof convergence);
    decomcam_convergence blank = convergence;
    IS(NON_FINITE, decomcam_orthogonalise(nan, 4, 2, kept_v, 4, 2, out, 2, &convergence));
    IS(SHAPE, decomcam_orthogonalise(kept, 3, 2, kept_v, 4, 2, out, 2, &convergence));
    IS(SHAPE, decomcam_orthogonalise(kept, 4, 0, kept_v, 4, 2, out, 2, &convergence));
    IS(SHAPE, decomcam_orthogonalise(kept, 4, 2, kept_v, 4, 1, out, 2, &convergence));
    IS(SHAPE, decomcam_orthogonalise(kept, 4, SIZE_MAX, kept_v, 4, 2, out, 2, &convergence));
    IS(SHAPE, decomcam_orthogonalise(kept, 4, 2, kept_v, 4, 2, out, 0, &convergence));
    IS(NULL_POINTER, decomcam_orthogonalise(NONE(float), 4, 2, kept_v, 4, 2, out, 2, &convergence));
    IS(NULL_POINTER, decomcam_orthogonalise(kept, 4, 2, kept_v, 4, 2, NONE(float), 2, &convergence));
    IS(NULL_POINTER, decomcam_orthogonalise(kept, 4, 2, kept_v, 4, 2, out, 2, NONE(decomcam_convergence)));
    IS(MISALIGNED, decomcam_orthogonalise(skewed(kept), 2, 1, NONE(float), 0, 0, out, 2, &convergence));
    IS(MISALIGNED, decomcam_orthogonalise(kept, 4, 2, skewed(kept_v), 2, 1, out, 2, &convergence));
    CHECK(equal(kept, matrix, 4) && equal(nan, kept_nan, 4) && equal(kept_v, identity, 4) && untouched(out, 2));
    CHECK(memcmp(&convergence, &blank, sizeof blank) == 0);
}

static void class_activation_maps(void) {
    static const float slopes[] = {-1, 0, 1, 4, 0.5f, 1, 0, 0.5f};
    // By decomcam_method. Of the channels, the sums of A are 1 and 3, the means of G 1 and .5, and the weights of Grad-CAM++ 1/3 + 2/3 and
    // .2 + 2 / 7, of XGrad-CAM -1 and 2.5 / 3, all less a little.
    static const float expected[][N] = {
        {1, 1, 0, 0.5f}, {0.9999999f, 0.9714278f, 0, 0.4857139f}, {-0.9999999f, 1.6666666f, 0, 0.8333333f},
        {-1, 2, 0, 0.5f}, {0, 2, 0, 0.5f},
    };
    enum { METHODS = sizeof expected / sizeof *expected };
    enum { LEN = DECOMCAM_CAM_SCRATCH_LEN(N), SPACE = DECOMCAM_WORKSPACE_LEN(N, C) };
    decomcam_maps activations = maps_of(VALUES), gradients = maps_of(slopes);
    float *scratch = floats(LEN), *map = floats(N), *out = floats(N + 1);
    CHECK(DECOMCAM_METHOD_GRAD_CAM == 0 && DECOMCAM_METHOD_GRAD_CAM_PLUS_PLUS == 1 && DECOMCAM_METHOD_X_GRAD_CAM == 2);
    CHECK(DECOMCAM_METHOD_HI_RES_CAM == 3 && DECOMCAM_METHOD_LAYER_CAM == 4);
    for (decomcam_method method = 0; method < METHODS; method++) {
        OK(decomcam_cam(method, &activations, &gradients, scratch, LEN, map, N));
        for (int i = 0; i < N; i++)
            CHECK(near(map[i], expected[method][i]));
    }

    // The scatter of the centred maps is ((.75, -.75), (-.75, 2.75)), its larger eigenvalue 3, the eigenvector (-1, 3) / sqrt(10).
    static const float component[] = {-3, 4, -2, 1};
    static const float ones[] = {1, 1, 1, 1, 1, 1, 1, 1}, minus[] = {-1, -1, -1, -1, -1, -1, -1, -1};
    decomcam_maps one = maps_of(ones), minus_one = maps_of(minus);
    float *workspace = floats(SPACE), *eigen = floats(N);
    OK(decomcam_eigen_cam(&activations, workspace, SPACE, eigen, N));
    for (int i = 0; i < N; i++)
        CHECK(near(eigen[i], component[i] / sqrtf(10)));
    OK(decomcam_eigen_grad_cam(&activations, &one, workspace, SPACE, map, N));
    CHECK(equal(map, eigen, N));
    // What the score rewards is the other side now.
    OK(decomcam_eigen_grad_cam(&activations, &minus_one, workspace, SPACE, map, N));
    for (int i = 0; i < N; i++)
        CHECK(map[i] == -eigen[i]);

    float *nan = copy(VALUES, C * N), *large = copy(VALUES, C * N);
    nan[C * N - 1] = NOT_A_NUMBER;
    large[C * N - 1] = 3e38f;
    decomcam_maps with_nan = maps_of(nan), with_large = maps_of(large), skew = maps_of(skewed(nan));
    decomcam_maps one_channel = activations, wide = activations;
    one_channel.channels = 1;
    wide.height = 1;
    wide.width = N;
    scratch = floats(LEN);
    for (decomcam_method method = 0; method < METHODS; method++) {
        IS(NULL_POINTER, decomcam_cam(method, NONE(decomcam_maps), &gradients, scratch, LEN, out, N));
        IS(NULL_POINTER, decomcam_cam(method, &activations, NONE(decomcam_maps), scratch, LEN, out, N));
        IS(NULL_POINTER, decomcam_cam(method, &activations, &gradients, NONE(float), LEN, out, N));
        IS(NULL_POINTER, decomcam_cam(method, &activations, &gradients, scratch, LEN, NONE(float), N));
        IS(MISALIGNED, decomcam_cam(method, &skew, &gradients, scratch, LEN, out, N));
        IS(MISALIGNED, decomcam_cam(method, &activations, &gradients, skewed(scratch), LEN - 1, out, N));
        IS(MISALIGNED, decomcam_cam(method, &activations, &gradients, scratch, LEN, skewed(out), N));
        IS(SHAPE, decomcam_cam(method, &one_channel, &gradients, scratch, LEN, out, N));
        IS(SHAPE, decomcam_cam(method, &activations, &wide, scratch, LEN, out, N));
        IS(SHAPE, decomcam_cam(method, &activations, &gradients, scratch, LEN, out, N - 1));
        IS(SHAPE, decomcam_cam(method, &activations, &gradients, scratch, LEN, out, N + 1));
        IS(SHAPE, decomcam_cam(method, &activations, &gradients, scratch, SIZE_MAX, out, N));
        IS(WORKSPACE_TOO_SMALL, decomcam_cam(method, &activations, &gradients, scratch, LEN - 1, out, N));
        IS(WORKSPACE_TOO_SMALL, decomcam_cam(method, &activations, &gradients, scratch, 0, out, N));
    }
    IS(UNKNOWN_OPTION, decomcam_cam(METHODS, &activations, &gradients, scratch, LEN, out, N));
    IS(UNKNOWN_OPTION, decomcam_cam(UINT32_MAX, &activations, &gradients, scratch, LEN, out, N));
    CHECK(untouched(scratch, LEN));
    for (decomcam_method method = 0; method < METHODS; method++) {
        IS(NON_FINITE, decomcam_cam(method, &with_nan, &gradients, scratch, LEN, out, N));
        IS(NON_FINITE, decomcam_cam(method, &activations, &with_nan, scratch, LEN, out, N));
    }
    // Finite but for the last value of the map.
    IS(NON_FINITE, decomcam_cam(DECOMCAM_METHOD_HI_RES_CAM, &with_large, &with_large, scratch, LEN, out, N));

    float *fresh = floats(SPACE);
    IS(NULL_POINTER, decomcam_eigen_cam(NONE(decomcam_maps), fresh, SPACE, out, N));
    IS(NULL_POINTER, decomcam_eigen_cam(&activations, NONE(float), SPACE, out, N));
    IS(NULL_POINTER, decomcam_eigen_cam(&activations, fresh, SPACE, NONE(float), N));
    IS(MISALIGNED, decomcam_eigen_cam(&activations, skewed(fresh), SPACE - 1, out, N));
    IS(MISALIGNED, decomcam_eigen_cam(&activations, fresh, SPACE, skewed(out), N));
    IS(SHAPE, decomcam_eigen_cam(&activations, fresh, SPACE, out, N + 1));
    IS(WORKSPACE_TOO_SMALL, decomcam_eigen_cam(&activations, fresh, SPACE - 1, out, N));
    IS(NULL_POINTER, decomcam_eigen_grad_cam(NONE(decomcam_maps), &gradients, fresh, SPACE, out, N));
    IS(NULL_POINTER, decomcam_eigen_grad_cam(&activations, NONE(decomcam_maps), fresh, SPACE, out, N));
    IS(NULL_POINTER, decomcam_eigen_grad_cam(&activations, &gradients, NONE(float), SPACE, out, N));
    IS(NULL_POINTER, decomcam_eigen_grad_cam(&activations, &gradients, fresh, SPACE, NONE(float), N));
    IS(MISALIGNED, decomcam_eigen_grad_cam(&activations, &skew, fresh, SPACE, out, N));
    IS(MISALIGNED, decomcam_eigen_grad_cam(&activations, &gradients, skewed(fresh), SPACE - 1, out, N));
    IS(SHAPE, decomcam_eigen_grad_cam(&activations, &one_channel, fresh, SPACE, out, N));
    IS(SHAPE, decomcam_eigen_grad_cam(&activations, &wide, fresh, SPACE, out, N));
    IS(SHAPE, decomcam_eigen_grad_cam(&activations, &gradients, fresh, SPACE, out, N - 1));
    IS(WORKSPACE_TOO_SMALL, decomcam_eigen_grad_cam(&activations, &gradients, fresh, SPACE - 1, out, N));
    CHECK(untouched(fresh, SPACE));
    IS(NON_FINITE, decomcam_eigen_cam(&with_nan, fresh, SPACE, out, N));
    IS(NON_FINITE, decomcam_eigen_grad_cam(&activations, &with_nan, fresh, SPACE, out, N));
    IS(NON_FINITE, decomcam_eigen_grad_cam(&with_large, &with_large, fresh, SPACE, out, N));
    CHECK(untouched(out, N + 1));
}

static void affinities(void) {
    // Two positions where only the second channel fires, one where only the first does, one where none does.
    static const float wanted[N * N] = {1, 0, 0, 0, 0, 0.5f, 0, 0.5f, 0, 0, 1, 0, 0, 0.5f, 0, 0.5f};
    static const float map[] = {1, 2, 3, 4}, moved[] = {1, 3, 3, 3};
    enum { LEN = DECOMCAM_AFFINITY_SCRATCH_LEN(N) };
    decomcam_maps good = maps_of(VALUES);
    float *scratch = floats(LEN), *matrix = floats(N * N), *shared = floats(N);
    OK(decomcam_affinity(&good, scratch, LEN, matrix, N * N));
    for (int i = 0; i < N * N; i++)
        CHECK(near(matrix[i], wanted[i]));
    OK(decomcam_share(matrix, N * N, map, shared, N));
    for (int i = 0; i < N; i++)
        CHECK(near(shared[i], moved[i]));

    float *nan = copy(VALUES, C * N), *out = floats(N * N + 1), *nan_matrix = copy(matrix, N * N);
    nan[C * N - 1] = nan_matrix[N * N - 1] = NOT_A_NUMBER;
    decomcam_maps with_nan = maps_of(nan), skew = maps_of(skewed(nan));
    scratch = floats(LEN);
    IS(NULL_POINTER, decomcam_affinity(NONE(decomcam_maps), scratch, LEN, out, N * N));
    IS(NULL_POINTER, decomcam_affinity(&good, NONE(float), LEN, out, N * N));
    IS(NULL_POINTER, decomcam_affinity(&good, scratch, LEN, NONE(float), N * N));
    IS(MISALIGNED, decomcam_affinity(&skew, scratch, LEN, out, N * N));
    IS(MISALIGNED, decomcam_affinity(&good, skewed(scratch), LEN - 1, out, N * N));
    IS(MISALIGNED, decomcam_affinity(&good, scratch, LEN, skewed(out), N * N));
    IS(SHAPE, decomcam_affinity(&good, scratch, LEN, out, N * N - 1));
    IS(SHAPE, decomcam_affinity(&good, scratch, LEN, out, N * N + 1));
    IS(SHAPE, decomcam_affinity(&good, scratch, LEN, out, SIZE_MAX / sizeof(float)));
    IS(WORKSPACE_TOO_SMALL, decomcam_affinity(&good, scratch, LEN - 1, out, N * N));
    IS(WORKSPACE_TOO_SMALL, decomcam_affinity(&good, scratch, 0, out, N * N));
    CHECK(untouched(scratch, LEN));
    IS(NON_FINITE, decomcam_affinity(&with_nan, scratch, LEN, out, N * N));
    IS(NULL_POINTER, decomcam_share(NONE(float), N * N, map, out, N));
    IS(NULL_POINTER, decomcam_share(matrix, N * N, NONE(float), out, N));
    IS(NULL_POINTER, decomcam_share(matrix, N * N, map, NONE(float), N));
    IS(MISALIGNED, decomcam_share(skewed(nan_matrix), 9, map, out, 3));
    IS(MISALIGNED, decomcam_share(matrix, N * N, map, skewed(out), N));
    IS(SHAPE, decomcam_share(matrix, N * N - 1, map, out, N));
    IS(SHAPE, decomcam_share(matrix, N * N, map, out, N - 1));
    IS(SHAPE, decomcam_share(matrix, 0, map, out, 0));
    IS(NON_FINITE, decomcam_share(nan_matrix, N * N, map, out, N));
    IS(NON_FINITE, decomcam_share(matrix, N * N, nan + N, out, N));
    CHECK(untouched(out, N * N + 1));
}

int main(void) {
    versions_and_names();
    sizes();
    maps();
    weights_and_channels();
    decomposition();
    integration();
    resampling_and_masks();
    CHECK(decomcam_environment_ok() == 1);
    drawing();
    frames();
    linear_head();
    everything_at_once();
    class_activation_maps();
    affinities();
    decomposition_of_matrices();
    while (buffer_count > 0)
        free(buffers[--buffer_count]);
    printf("%d checks of the C interface, %d failed\n", checks, failures);
    return failures != 0;
}
