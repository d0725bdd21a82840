// An explanation wholly on the device, as firmware would ask for it. Prints what it costs, and the hashes of its results: those of the desktop.
#include "board.h"
#include "explain.h"

static void print_number(uint32_t number) {
    char text[11];
    char *digit = text + sizeof text - 1;
    *digit = 0;
    do {
        *--digit = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    print(digit);
}

static void print_line(const char *name, uint64_t hash) {
    char text[17];
    for (int i = 16; i-- > 0; hash >>= 4)
        text[i] = "0123456789abcdef"[hash & 15];
    text[16] = 0;
    print(name);
    print(" ");
    print(text);
    print("\n");
}

static decomcam_status explain_measured(void) {
    decomcam_explanation explanation;
    make_input();
    measure();
    decomcam_status status = explain_at_once(&explanation);
    uint32_t count = instructions();
    print("# decomcam_explain: ");
    print_number(count);
    print(" instructions, ");
    print_number(stack_bytes());
    print(" bytes of stack, ");
    print_number(sizeof workspace);
    print(" bytes of workspace\n");
    return status;
}

int main(void) {
    decomcam_status status = explain_measured();
#ifndef EXPLAIN_ONLY
    if (status == DECOMCAM_STATUS_OK)
        status = explain(print_line);
#else
    (void)print_line;
#endif
    if (status != DECOMCAM_STATUS_OK) {
        print(decomcam_status_name(status));
        print("\n");
    }
    return status != DECOMCAM_STATUS_OK;
}
