#include "board.h"

static uint32_t semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void print(const char *text) {
    enum { SYS_WRITE0 = 0x04 };
    semihost(SYS_WRITE0, text);
}

void leave(int code) {
    enum { SYS_EXIT = 0x18, APPLICATION_EXIT = 0x20026, RUN_TIME_ERROR = 0x20023 };
    for (;;)
        semihost(SYS_EXIT, (const void *)(code == 0 ? APPLICATION_EXIT : RUN_TIME_ERROR));
}

// The first timer of the CMSDK (Arm's Cortex-M System Design Kit). It counts down at 25 MHz: 40 instructions, of one nanosecond each, for every tick.
struct timer {
    volatile uint32_t control, value, reload;
};
#define TIMER ((struct timer *)0x40000000u)
enum { INSTRUCTIONS_A_TICK = 40 };

// Words of stack that are painted: more than any call uses. What has lost its paint has been used.
enum { PAINTED = 4096 };
static const uint32_t PAINT = 0xa5a55a5au;
static volatile uint32_t *top;

__attribute__((noinline)) void measure(void) {
    // Below this function's own few words.
    top = (volatile uint32_t *)__builtin_frame_address(0) - 16;
    for (int i = 1; i <= PAINTED; i++)
        top[-i] = PAINT;
    TIMER->control = 0;
    TIMER->value = TIMER->reload = UINT32_MAX;
    TIMER->control = 1;
}

uint32_t instructions(void) {
    return (UINT32_MAX - TIMER->value) * INSTRUCTIONS_A_TICK;
}

uint32_t stack_bytes(void) {
    int unused = PAINTED;
    while (unused > 0 && top[-unused] == PAINT)
        unused--;
    return (uint32_t)(unused + 16) * 4;
}
