// What runs before main() on a Cortex-M4F: the vector table, the floating-point unit, initial values in RAM.
#include "board.h"

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

static void stop(void) {
    leave(1);
}

__attribute__((noreturn)) void reset(void) {
    // Coprocessor access control register: the floating-point unit may be used, from here on.
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\n isb" ::: "memory");
    for (uint32_t *to = data_start, *from = data_load; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    leave(main());
}

// Stack, reset, and the faults: each ends the emulator with a failure.
__attribute__((section(".vectors"), used)) static void *const vectors[] = {
    stack_top, (void *)reset, (void *)stop, (void *)stop, (void *)stop, (void *)stop, (void *)stop,
};
