// Prints the results of explain.c: a name and a hash a line.
#include "explain.h"

#include <inttypes.h>
#include <stdio.h>

static void print(const char *name, uint64_t hash) {
    printf("%s %016" PRIx64 "\n", name, hash);
}

int main(void) {
    decomcam_status status = explain(print);
    if (status != DECOMCAM_STATUS_OK)
        fprintf(stderr, "%s\n", decomcam_status_name(status));
    return status != DECOMCAM_STATUS_OK;
}
