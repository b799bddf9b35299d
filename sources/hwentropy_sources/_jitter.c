/*
 * The time of reads that go past the caches, for hwentropy_sources.jitter.
 *
 *     COUNTER                   "tsc", "cntvct_el0", or "" where this file knows no way
 *     deltas(buffer, reads)     fill a writable buffer with raw differences of the counter
 *
 * One difference is the time that `reads` reads of memory took, one after another, each
 * of a line that was written and then flushed from all caches at its last visit.  The
 * buffer takes native 64-bit unsigned integers.  Nothing is folded, masked or left out:
 * what is here is what an assessment has to see.
 *
 * What this does not protect against: a machine whose counter or memory is simulated,
 * where the times are as predictable as the simulation.  This file only measures.
 *
 * Builds everywhere; on anything but x86-64 and aarch64 COUNTER is empty.
 */

#define PY_SSIZE_T_CLEAN
/* CPython 3.11's limited API: the first with the buffer protocol in it. */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

/*
 * One page of lines: 64 of the 64 bytes that x86-64 and most of aarch64 have.  Where a line
 * is longer, two of ours share one, and some reads find it cached: the delta is shorter.
 */
enum { LINE_BYTES = 64, LINES = 64 };

/* Lines from one read to the next: odd, hence every line comes once in LINES reads, and no
 * constant stride that a prefetcher would follow within a page of neighbours. */
enum { STEP = 19 };

/* A round of all lines; no call can be broken off. */
enum { MOST_READS = LINES };

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define COUNTER "tsc"

/* RDTSC does not wait for what stands before it; LFENCE does (Intel SDM volume 2B, RDTSC). */
static inline uint64_t
counter(void)
{
    uint64_t now;

    _mm_lfence();
    now = __rdtsc();
    _mm_lfence();
    return now;
}

static inline void
flush(const volatile unsigned char *line)
{
    _mm_clflush((const void *)line);
}

/* Intel SDM volume 2A, CPUID: leaf 1, EDX bit 4 (TSC) and bit 19 (CLFSH). */
static int
available(void)
{
    unsigned int a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) && ((d >> 4) & 1) && ((d >> 19) & 1);
}

#elif defined(__aarch64__)

#define COUNTER "cntvct_el0"

/* Linux lets user space read the virtual counter, and emulates it where an erratum forbids. */
static inline uint64_t
counter(void)
{
    uint64_t now;

    __asm__ volatile("dsb sy\n\tisb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(now) : : "memory");
    return now;
}

/* Clean and invalidate to the point of coherency; Linux sets SCTLR_EL1.UCI. */
static inline void
flush(const volatile unsigned char *line)
{
    __asm__ volatile("dc civac, %0" : : "r"(line) : "memory");
}

static int
available(void)
{
    return 1;
}

#else

#define COUNTER ""

static inline uint64_t
counter(void)
{
    return 0;
}

static inline void
flush(const volatile unsigned char *line)
{
    (void)line;
}

static int
available(void)
{
    return 0;
}

#endif

static void
measure(unsigned char *at, size_t count, int reads)
{
    _Alignas(LINE_BYTES) volatile unsigned char lines[LINES * LINE_BYTES];
    unsigned int line = 0;
    uint64_t before;

    memset((void *)lines, 0, sizeof lines);
    /* Or the first round would read what memset has just put into the caches. */
    for (line = 0; line < LINES; line++)
        flush(lines + line * LINE_BYTES);
    line = 0;
    before = counter();
    while (count--) {
        uint64_t now, delta;
        for (int left = reads; left; left--) {
            volatile unsigned char *here = lines + line * LINE_BYTES;
            unsigned char zero = *here;
            /* Written, so that flushing has something to bring back to memory. */
            *here = zero;
            flush(here);
            /* What was read decides the next address: no read starts before the last ends. */
            line = (line + STEP + zero) % LINES;
        }
        now = counter();
        delta = now - before;
        before = now;
        memcpy(at, &delta, sizeof delta);
        at += sizeof delta;
    }
}

static PyObject *
py_deltas(PyObject *module, PyObject *arguments)
{
    PyObject *target;
    int reads;
    Py_buffer view;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "Oi:deltas", &target, &reads))
        return NULL;
    if (!available()) {
        PyErr_SetString(PyExc_OSError, "no counter and cache flush that is known here");
        return NULL;
    }
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    if (view.len % (Py_ssize_t)sizeof(uint64_t) != 0 || reads < 1
        || reads > MOST_READS) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "whole 64-bit integers, and 1 to 64 reads each");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    measure(view.buf, (size_t)view.len / sizeof(uint64_t), reads);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"deltas", py_deltas, METH_VARARGS,
     PyDoc_STR("deltas(buffer, reads)\n--\n\n"
               "Fill a writable buffer with 64-bit times of `reads` uncached reads each.")},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    return PyModule_AddStringConstant(module, "COUNTER", available() ? COUNTER : "");
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
    .m_name = "hwentropy_sources._jitter",
    .m_doc = PyDoc_STR("The time of reads that go past the caches."),
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__jitter(void)
{
    return PyModuleDef_Init(&definition);
}
