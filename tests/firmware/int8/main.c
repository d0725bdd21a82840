// The self-test that `decomcam firmware` wrote in C, on a board.
#include "board.h"
#include "why.h"

int main(void) {
    const char *differs = why_self_test();
    print("self-test: ");
    print(differs ? differs : "all bits are the desktop's");
    return differs != 0;
}
