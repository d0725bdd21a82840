// What the program wants of the board: text for the machine that debugs or emulates it (semihosting), what a call costs, and the end.
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

int main(void);
void print(const char *text);
__attribute__((noreturn)) void leave(int code);

// Starts measuring, and tells what has happened since: instructions (under QEMU's -icount shift=0), and bytes of stack below the caller's.
void measure(void);
uint32_t instructions(void);
uint32_t stack_bytes(void);

#endif
