/*
 * RDSEED and RDRAND, the instructions themselves, for hwentropy_sources.
 *
 *     HAS_RDSEED, HAS_RDRAND    what CPUID says of this CPU
 *     rdseed(buffer)            fill a writable buffer, or raise
 *     rdrand(buffer)            the same with the other instruction
 *
 * One never stands in for the other.  A word that cannot be had within its
 * retries raises OSError, with the buffer overwritten with zeros.
 *
 * The 64-bit forms are used: AMD's Zen 5 erratum (AMD-SB-7055: RDSEED gives 0
 * and says success) is in the 16-bit and 32-bit ones.
 *
 * What this does not protect against: a CPU that says success and gives the
 * same word for ever.  The health tests see that; this file only carries.
 *
 * Builds everywhere; on anything but x86-64 both HAS_ are False.
 */

#define PY_SSIZE_T_CLEAN
/* CPython 3.11's limited API: the first with the buffer protocol in it. */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

/*
 * Intel's DRNG Software Implementation Guide: RDRAND fails ten times in a row
 * only when the CPU is broken (5.2.1).  RDSEED may run dry at any time and
 * names no number (5.3.1); about 4 underflows a word were measured on an idle
 * machine, so 1,000 leave room for every core drawing at once and still end
 * within 0.1 ms (1,000 pauses of up to 140 cycles at 2 GHz is 0.07 ms).
 */
enum { RDRAND_TRIES = 10, RDSEED_TRIES = 1000 };

typedef int (*step_function)(uint64_t *word);

#if defined(__x86_64__)

__attribute__((target("rdseed"))) static int
rdseed_step(uint64_t *word)
{
    unsigned long long value = 0;
    int good = _rdseed64_step(&value);
    *word = value;
    return good;
}

__attribute__((target("rdrnd"))) static int
rdrand_step(uint64_t *word)
{
    unsigned long long value = 0;
    int good = _rdrand64_step(&value);
    *word = value;
    return good;
}

static void
cpu_relax(void)
{
    _mm_pause();
}

/* Intel SDM volume 2A, CPUID: leaf 7, subleaf 0, EBX bit 18. */
static int
has_rdseed(void)
{
    unsigned int a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && ((b >> 18) & 1);
}

/* The same: leaf 1, ECX bit 30. */
static int
has_rdrand(void)
{
    unsigned int a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) && ((c >> 30) & 1);
}

#else

static int
rdseed_step(uint64_t *word)
{
    *word = 0;
    return 0;
}

static int
rdrand_step(uint64_t *word)
{
    *word = 0;
    return 0;
}

static void
cpu_relax(void)
{
}

static int
has_rdseed(void)
{
    return 0;
}

static int
has_rdrand(void)
{
    return 0;
}

#endif

/* A plain memset of what is not read again may be optimised away. */
static void
wipe(volatile unsigned char *at, size_t size)
{
    while (size--)
        *at++ = 0;
}

/* 1 with the buffer full, 0 with it zeroed. */
static int
fill(unsigned char *at, size_t size, step_function step, int tries)
{
    unsigned char *const start = at;
    uint64_t word = 0;

    while (size) {
        size_t part = size < sizeof word ? size : sizeof word;
        int left = tries;
        while (!step(&word)) {
            if (--left == 0) {
                wipe(start, (size_t)(at - start));
                return 0;
            }
            cpu_relax();
        }
        memcpy(at, &word, part);
        at += part;
        size -= part;
    }
    wipe((unsigned char *)&word, sizeof word);
    return 1;
}

static PyObject *
fill_object(PyObject *target, int available, step_function step, int tries, const char *name)
{
    Py_buffer view;
    int filled;

    if (!available) {
        PyErr_Format(PyExc_OSError, "this CPU has no %s instruction", name);
        return NULL;
    }
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    filled = fill(view.buf, (size_t)view.len, step, tries);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    if (!filled) {
        PyErr_Format(PyExc_OSError, "%s gave no word in %d tries", name, tries);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
py_rdseed(PyObject *module, PyObject *target)
{
    (void)module;
    return fill_object(target, has_rdseed(), rdseed_step, RDSEED_TRIES, "RDSEED");
}

static PyObject *
py_rdrand(PyObject *module, PyObject *target)
{
    (void)module;
    return fill_object(target, has_rdrand(), rdrand_step, RDRAND_TRIES, "RDRAND");
}

static PyMethodDef methods[] = {
    {"rdseed", py_rdseed, METH_O,
     PyDoc_STR("rdseed(buffer)\n--\n\nFill a writable buffer with RDSEED; OSError if it runs dry.")},
    {"rdrand", py_rdrand, METH_O,
     PyDoc_STR("rdrand(buffer)\n--\n\nFill a writable buffer with RDRAND; OSError if it runs dry.")},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    if (PyModule_AddObjectRef(module, "HAS_RDSEED", has_rdseed() ? Py_True : Py_False) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "HAS_RDRAND", has_rdrand() ? Py_True : Py_False);
}

/*
 * ISO C has no conversion from a function pointer to the `void *` that a slot
 * wants; POSIX (dlsym) guarantees it.
 */
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "hwentropy_sources.cpu._cpurand",
    .m_doc = PyDoc_STR("RDSEED and RDRAND, the instructions themselves."),
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__cpurand(void)
{
    return PyModuleDef_Init(&definition);
}
