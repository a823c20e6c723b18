/* The fuzzer's side of harness.pyx: an embedded Python with the instrumented leaves in its path. */

#include <Python.h>
#include <stdlib.h>

#include "harness.h"

static void stop(void)
{
    PyErr_Print();
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    PyImport_AppendInittab("harness", PyInit_harness);
    Py_InitializeEx(0);
    if (PyImport_ImportModule("harness") == NULL)
        stop();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fuzz_one(data, size) != 0)
        stop();
    return 0;
}
