/* The bytes of a lease that are ready to be handed out, in memory the kernel
 * wipes on fork and leaves out of core dumps.
 *
 * `take` is the hot path of everything that draws: one comparison with the
 * generation page, one look at the clock, one copy, one overwrite, under the
 * interpreter's lock.  When any of them says no, or too little is left, it
 * returns None and the caller (hwentropy.generator) gets a new block or lease.
 * The logic is that of lease/reservoir.py, which stands in where this was not built;
 * one set of tests holds both.  A free-threaded interpreter takes its lock back
 * when it loads this module, which does not say that it can do without.
 *
 * What this does not protect against: the copies in the objects it hands out,
 * which are their owner's, and whoever can read this process's memory.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* The first page: what a fork must reset to "nothing left". */
typedef struct {
    uint64_t left;     /* bytes at the end of the block not handed out yet */
    uint64_t epoch;    /* what word 3 of the generation page must say */
    int64_t deadline;  /* CLOCK_BOOTTIME nanoseconds at which the lease ends */
} Control;

enum { CONTROL_BYTES = 4096, EPOCH_WORD = 3 };

typedef struct {
    PyObject_HEAD
    unsigned char *memory;
    Py_ssize_t block_bytes;
    Py_buffer page;
    int attached;
} Reservoir;

static Control *control_of(Reservoir *self) { return (Control *)self->memory; }

static void overwrite(void *at, size_t size)
{
    memset(at, 0, size);
    /* The compiler may not drop a store that this might read. */
    __asm__ __volatile__("" : : "r"(at) : "memory");
}

static int64_t boottime(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Where `size` bytes can be taken from, or NULL. */
static unsigned char *ready(Reservoir *self, Py_ssize_t size)
{
    Control *control = control_of(self);
    if (size < 0 || (uint64_t)size > control->left || !self->attached) {
        return NULL;
    }
    const volatile uint64_t *words = self->page.buf;
    if (words[EPOCH_WORD] != control->epoch || boottime() >= control->deadline) {
        return NULL;
    }
    return self->memory + CONTROL_BYTES + self->block_bytes - control->left;
}

static PyObject *take(Reservoir *self, PyObject *argument)
{
    Py_ssize_t size = PyNumber_AsSsize_t(argument, NULL);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    unsigned char *start = ready(self, size);
    if (start == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *bytes = PyBytes_FromStringAndSize((char *)start, size);
    if (bytes != NULL) {
        overwrite(start, (size_t)size);
        control_of(self)->left -= (uint64_t)size;
    }
    return bytes;
}

static PyObject *take_into(Reservoir *self, PyObject *argument)
{
    Py_buffer out;
    if (PyObject_GetBuffer(argument, &out, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    unsigned char *start = ready(self, out.len);
    if (start != NULL) {
        memmove(out.buf, start, (size_t)out.len);
        overwrite(start, (size_t)out.len);
        control_of(self)->left -= (uint64_t)out.len;
    }
    PyBuffer_Release(&out);
    return PyBool_FromLong(start != NULL);
}

static PyObject *arm(Reservoir *self, PyObject *arguments)
{
    unsigned long long epoch;
    long long deadline;
    Py_ssize_t left;
    if (!PyArg_ParseTuple(arguments, "KLn:arm", &epoch, &deadline, &left)) {
        return NULL;
    }
    if (left < 0 || left > self->block_bytes) {
        PyErr_SetString(PyExc_ValueError, "more bytes than the block holds");
        return NULL;
    }
    /* A block that was wiped is none.  A filled one looks so once in 2^64. */
    uint64_t last;
    memcpy(&last, self->memory + CONTROL_BYTES + self->block_bytes - sizeof last, sizeof last);
    Control *control = control_of(self);
    control->epoch = epoch;
    control->deadline = deadline;
    control->left = last == 0 ? 0 : (uint64_t)left;
    Py_RETURN_NONE;
}

static PyObject *extend(Reservoir *self, PyObject *argument)
{
    long long deadline = PyLong_AsLongLong(argument);
    if (deadline == -1 && PyErr_Occurred()) {
        return NULL;
    }
    control_of(self)->deadline = deadline;
    Py_RETURN_NONE;
}

static PyObject *disarm(Reservoir *self, PyObject *Py_UNUSED(ignored))
{
    control_of(self)->left = 0;
    overwrite(self->memory + CONTROL_BYTES, (size_t)self->block_bytes);
    Py_RETURN_NONE;
}

static PyObject *attach(Reservoir *self, PyObject *argument)
{
    Py_buffer page;
    if (PyObject_GetBuffer(argument, &page, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (page.len < (EPOCH_WORD + 1) * (Py_ssize_t)sizeof(uint64_t) ||
        (uintptr_t)page.buf % sizeof(uint64_t) != 0) {
        PyBuffer_Release(&page);
        PyErr_SetString(PyExc_ValueError, "not a generation page");
        return NULL;
    }
    /* Released last: that may run other code, which may come back here. */
    Py_buffer old = self->page;
    int had_one = self->attached;
    control_of(self)->left = 0;
    self->page = page;
    self->attached = 1;
    if (had_one) {
        PyBuffer_Release(&old);
    }
    Py_RETURN_NONE;
}

/* The kernel has wiped the memory, and there is no lock. */
static PyObject *after_fork(Reservoir *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

static PyObject *get_left(Reservoir *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(control_of(self)->left);
}

/* No other code of the same thread runs within a take. */
static PyObject *get_interrupted(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

static PyObject *reservoir_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Py_ssize_t block_bytes;
    static char *names[] = {"block_bytes", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n:Reservoir", names, &block_bytes)) {
        return NULL;
    }
    if (block_bytes < (Py_ssize_t)sizeof(uint64_t)) {
        PyErr_SetString(PyExc_ValueError, "block_bytes must be at least 8");
        return NULL;
    }
    if (block_bytes > PY_SSIZE_T_MAX - CONTROL_BYTES) {
        return PyErr_NoMemory();
    }
    size_t size = (size_t)(CONTROL_BYTES + block_bytes);
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (madvise(memory, size, MADV_WIPEONFORK) < 0 || madvise(memory, size, MADV_DONTDUMP) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        munmap(memory, size);
        return NULL;
    }
    Reservoir *self = (Reservoir *)type->tp_alloc(type, 0);
    if (self == NULL) {
        munmap(memory, size);
        return NULL;
    }
    self->memory = memory;
    self->block_bytes = block_bytes;
    return (PyObject *)self;
}

static void reservoir_dealloc(Reservoir *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->memory != NULL) {
        size_t size = (size_t)(CONTROL_BYTES + self->block_bytes);
        overwrite(self->memory, size);
        munmap(self->memory, size);
    }
    if (self->attached) {
        PyBuffer_Release(&self->page);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* The block and nothing of the control page; its owner fills it. */
static int reservoir_getbuffer(Reservoir *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)self, self->memory + CONTROL_BYTES,
                             self->block_bytes, 0, flags);
}

static PyObject *get_block(PyObject *self, void *Py_UNUSED(closure))
{
    return PyMemoryView_FromObject(self);
}

static PyMethodDef methods[] = {
    {"take", (PyCFunction)take, METH_O, "The next n bytes, or None."},
    {"take_into", (PyCFunction)take_into, METH_O, "Fill a buffer with the next bytes, or False."},
    {"arm", (PyCFunction)arm, METH_VARARGS, "arm(epoch, deadline, left): the block is filled."},
    {"extend", (PyCFunction)extend, METH_O, "The same bytes until another time."},
    {"disarm", (PyCFunction)disarm, METH_NOARGS, "Overwrite the block, all of it."},
    {"attach", (PyCFunction)attach, METH_O, "Compare with this generation page from now on."},
    {"after_fork", (PyCFunction)after_fork, METH_NOARGS, "In a forked child: nothing to do."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"block", get_block, NULL, "The memory that the bytes are taken from.", NULL},
    {"interrupted", get_interrupted, NULL, "Whether this thread is within a take: no.", NULL},
    {"left", (getter)get_left, NULL, "Bytes not handed out yet; 0 after a fork.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Bytes of a lease that are ready; see hwentropy.lease.reservoir."},
    {Py_tp_new, reservoir_new},
    {Py_tp_dealloc, reservoir_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_bf_getbuffer, reservoir_getbuffer},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "hwentropy._reservoir.Reservoir",
    .basicsize = sizeof(Reservoir),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_reservoir",
    .m_doc = "The hot path of hwentropy.generator.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__reservoir(void) { return PyModuleDef_Init(&module); }
