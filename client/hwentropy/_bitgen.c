/* What a NumPy bit generator of one-time keys needs in C; see bit_generator.py.
 *
 * NumPy draws by calling C functions that cannot report an error, and holds the bit
 * generator's lock while it does.  So the lock is this KeyedLock: taking it draws a
 * fresh key, in Python, where an outage raises; NumPy's calls then give the ChaCha20
 * keystream of that key, which cannot fail; letting it go wipes key and keystream.
 *
 * All of that lies in one page that the kernel wipes on fork and leaves out of core
 * dumps, the lock word too: a forked child, also one that CPython was not told of,
 * finds the lock free and no key, whatever the parent's threads were doing.
 *
 * What this does not protect against: who reads this process's memory during a call
 * knows that call's numbers, and what NumPy makes of them is the caller's.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "hwentropy/known_answers.h"

#include <pthread.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* numpy/random/bitgen.h: what NumPy copies out of a bit generator's capsule. */
typedef struct {
    void *state;
    uint64_t (*next_uint64)(void *state);
    uint32_t (*next_uint32)(void *state);
    double (*next_double)(void *state);
    uint64_t (*next_raw)(void *state);
} Bitgen;

/* BLOCKS is a power of two, so that the 32-bit block counter starts again between two
 * refills and never within one.  The first refill is one of FIRST_BLOCKS, of which the
 * smallest vector of chacha20.h makes 4 at once (a scalar needs 8 or 16 bytes), and
 * each fills what was made fourfold, until it is the whole room. */
enum { BLOCKS = 32, FIRST_BLOCKS = 4, ROOM_BYTES = BLOCKS * HWENTROPY_CHACHA20_BLOCK };

/* How long a wait for another thread's draw goes on without looking for signals. */
enum { SLICE_NANOSECONDS = 50 * 1000 * 1000 };

/* All zero: nobody holds the lock, there is no key. */
typedef struct {
    uint32_t words[16]; /* RFC 8439 2.3: constants, key, block counter, nonce */
    uintptr_t drawer;   /* the thread whose draws the key is for; 0: no key */
    size_t at, end;     /* the part of `room` that was not handed out yet */
    uint32_t lock;      /* hwentropy/base.h */
    uint32_t depth;     /* how often the owner has taken it */
    uintptr_t owner;
    uint64_t life;      /* 0 after a fork; else no number that this page had before one */
    unsigned char room[ROOM_BYTES];
} Page;

enum { PAGE_BYTES = 4096 };
_Static_assert(sizeof(Page) <= PAGE_BYTES, "the state fits in its page");
_Static_assert(BLOCKS % FIRST_BLOCKS == 0 && (BLOCKS & (BLOCKS - 1)) == 0, "see BLOCKS");

typedef struct {
    PyObject_HEAD
    Page *page;
    uint64_t lives;
    PyObject *take;
    PyObject *random_bytes;
} KeyedLock;

/* Which thread this is: the address that pthread_self gives, without the call. */
static inline uintptr_t this_thread(void)
{
#if defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
    return (uintptr_t)__builtin_thread_pointer();
#define HAS_THREAD_POINTER
#endif
#endif
#ifndef HAS_THREAD_POINTER
    return (uintptr_t)pthread_self();
#endif
}

/* ---- what NumPy calls ------------------------------------------------------------- */

static void no_key(void)
{
    static const char message[] =
        "hwentropy: a number was drawn without holding the bit generator's lock, or in a "
        "child forked during a draw; draw inside `with bit_generator.lock:`\n";
    ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
    (void)ignored;
    abort();
}

static void refill(Page *page)
{
    uint32_t counter = page->words[12];
    size_t start = counter % BLOCKS;
    size_t blocks = BLOCKS - start;
    if (!page->words[13] && counter < BLOCKS) {
        blocks = counter ? hwentropy_least(blocks, 3 * counter) : FIRST_BLOCKS;
    }
    page->at = start * HWENTROPY_CHACHA20_BLOCK;
    page->end = page->at + blocks * HWENTROPY_CHACHA20_BLOCK;
    hwentropy_chacha20_blocks(page->words, page->room + page->at, blocks);
    if (page->words[12] == 0) {
        page->words[13]++; /* 256 GiB with this nonce: go on with the next */
    }
}

/* What is left, then the first bytes of what comes next: none is left out. */
HWENTROPY_APART void copy_across(Page *page, void *to, size_t size)
{
    if (page->drawer != this_thread()) {
        no_key();
    }
    size_t left = hwentropy_least(page->end - page->at, size);
    memcpy(to, page->room + page->at, left);
    page->at += left;
    if (left < size) {
        refill(page);
        memcpy((unsigned char *)to + left, page->room + page->at, size - left);
        page->at += size - left;
    }
}

static inline void copy(Page *page, void *to, size_t size)
{
    if (page->end - page->at >= size && page->drawer == this_thread()) {
        memcpy(to, page->room + page->at, size);
        page->at += size;
    } else {
        copy_across(page, to, size);
    }
}

static uint64_t next_uint64(void *state)
{
    uint64_t value;
    copy(state, &value, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static uint32_t next_uint32(void *state)
{
    uint32_t value;
    copy(state, &value, sizeof value);
    return hwentropy_le32(value);
}

/* 53 bits, the significand of a double, times 2^-53. */
static double next_double(void *state)
{
    return (double)(next_uint64(state) >> 11) * (1.0 / 9007199254740992.0);
}

/* ---- the lock --------------------------------------------------------------------- */

/* Overwrite the key and what was made of it. */
static void erase(Page *page)
{
    size_t blocks = page->words[13] ? BLOCKS : hwentropy_least(page->words[12], BLOCKS);
    hwentropy_wipe(page->room, blocks * HWENTROPY_CHACHA20_BLOCK);
    hwentropy_wipe(page->words, sizeof page->words);
    page->drawer = 0;
    page->at = page->end = 0;
}

/* 1 with the lock, 0 without (after `deadline`), -1 with an exception. */
static int hold(KeyedLock *self, int blocking, int64_t deadline)
{
    Page *page = self->page;
    if (page->owner == this_thread()) {
        page->depth++;
        return 1;
    }
    /* At a deadline that is over it is tried and not waited for. */
    int status = hwentropy_lock(&page->lock, 1);
    while (status != HWENTROPY_OK) {
        int64_t now = hwentropy_boottime(), until = now + SLICE_NANOSECONDS;
        if (!blocking || (deadline && now >= deadline)) {
            return 0;
        }
        if (deadline && deadline < until) {
            until = deadline;
        }
        Py_BEGIN_ALLOW_THREADS
        status = hwentropy_lock(&page->lock, until);
        Py_END_ALLOW_THREADS
        if (status != HWENTROPY_OK && PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    page->owner = this_thread();
    page->depth = 1;
    if (page->life == 0) {
        page->life = ++self->lives;
    }
    return 1;
}

static void let_go(Page *page)
{
    if (--page->depth == 0) {
        erase(page);
        page->owner = 0;
        hwentropy_unlock(&page->lock);
    }
}

/* A `bytes` of HWENTROPY_KEY_BYTES, or NULL with an exception. */
static PyObject *draw_key(KeyedLock *self)
{
    PyObject *size = PyLong_FromLong(HWENTROPY_KEY_BYTES);
    if (size == NULL) {
        return NULL;
    }
    PyObject *key = PyObject_CallOneArg(self->take, size);
    if (key == Py_None) {
        Py_DECREF(key);
        key = PyObject_CallOneArg(self->random_bytes, size);
    }
    Py_DECREF(size);
    if (key != NULL && !(PyBytes_CheckExact(key) && PyBytes_GET_SIZE(key) == HWENTROPY_KEY_BYTES)) {
        Py_DECREF(key);
        PyErr_SetString(PyExc_TypeError, "what draws the key did not give 32 bytes");
        return NULL;
    }
    return key;
}

/* Let go of a key, and overwrite it if nobody else has it. */
static void discard(PyObject *key)
{
    if (key != NULL && Py_REFCNT(key) == 1) {
        hwentropy_wipe(PyBytes_AS_STRING(key), HWENTROPY_KEY_BYTES);
    }
    Py_XDECREF(key);
}

/* As `hold`, and with a key. */
static int hold_keyed(KeyedLock *self, int blocking, int64_t deadline)
{
    static const unsigned char nonce[12] = {0};
    Page *page = self->page;
    for (;;) {
        int held = hold(self, blocking, deadline);
        /* In the middle of a draw of this thread: it goes on in that keystream. */
        if (held <= 0 || (page->depth > 1 && page->drawer == this_thread())) {
            return held;
        }
        /* Any Python code may run in here: another draw, a fork. */
        uint64_t life = page->life;
        PyObject *key = draw_key(self);
        int forked = page->life != life;
        if (key == NULL) {
            if (!forked) {
                let_go(page);
            }
            return -1;
        }
        if (!forked) {
            erase(page);
            hwentropy_chacha20_state(
                page->words, (unsigned char *)PyBytes_AS_STRING(key), 0, nonce);
            page->drawer = this_thread();
        }
        discard(key);
        if (!forked) {
            return 1;
        }
        /* This is the child: the kernel has freed the lock, so take it first. */
    }
}

static PyObject *acquire(KeyedLock *self, PyObject *arguments, PyObject *keywords)
{
    int blocking = 1;
    double timeout = -1;
    static char *names[] = {"blocking", "timeout", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|pd:acquire", names, &blocking, &timeout)) {
        return NULL;
    }
    if (timeout != -1 && (!blocking || !(timeout >= 0))) {
        PyErr_SetString(PyExc_ValueError, "a timeout is 0 or more seconds, of a blocking call");
        return NULL;
    }
    int64_t deadline = 0;
    if (timeout >= 0 && timeout < 1e9) { /* more than 31 years: no deadline */
        deadline = hwentropy_boottime() + (int64_t)(timeout * 1e9);
    }
    int held = hold_keyed(self, blocking, deadline);
    return held < 0 ? NULL : PyBool_FromLong(held);
}

static PyObject *enter(KeyedLock *self, PyObject *Py_UNUSED(ignored))
{
    if (hold_keyed(self, 1, 0) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *release(KeyedLock *self, PyObject *Py_UNUSED(ignored))
{
    if (self->page->owner != this_thread()) {
        PyErr_SetString(PyExc_RuntimeError, "this thread does not hold the bit generator's lock");
        return NULL;
    }
    let_go(self->page);
    Py_RETURN_NONE;
}

/* No error where it is not held: so it is in a child forked since `__enter__`. */
static PyObject *leave(KeyedLock *self, PyObject *const *Py_UNUSED(error), Py_ssize_t Py_UNUSED(n))
{
    if (self->page->owner == this_thread()) {
        let_go(self->page);
    }
    Py_RETURN_NONE;
}

/* ---- the object ------------------------------------------------------------------- */

static PyObject *attach(KeyedLock *self, PyObject *capsule)
{
    Bitgen *bitgen = PyCapsule_GetPointer(capsule, "BitGenerator");
    if (bitgen == NULL) {
        return NULL;
    }
    *bitgen = (Bitgen){self->page, next_uint64, next_uint32, next_double, next_uint64};
    Py_RETURN_NONE;
}

static PyObject *keyed_lock_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *take, *random_bytes;
    static char *names[] = {"take", "random_bytes", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO:KeyedLock", names, &take, &random_bytes)) {
        return NULL;
    }
    Page *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (madvise(page, PAGE_BYTES, MADV_WIPEONFORK) < 0 ||
        madvise(page, PAGE_BYTES, MADV_DONTDUMP) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        munmap(page, PAGE_BYTES);
        return NULL;
    }
    KeyedLock *self = (KeyedLock *)type->tp_alloc(type, 0);
    if (self == NULL) {
        munmap(page, PAGE_BYTES);
        return NULL;
    }
    self->page = page;
    self->take = Py_NewRef(take);
    self->random_bytes = Py_NewRef(random_bytes);
    return (PyObject *)self;
}

static void keyed_lock_dealloc(KeyedLock *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->page != NULL) {
        hwentropy_wipe(self->page, sizeof *self->page);
        munmap(self->page, PAGE_BYTES);
    }
    Py_XDECREF(self->take);
    Py_XDECREF(self->random_bytes);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))acquire, METH_VARARGS | METH_KEYWORDS,
     "Take the lock, with a fresh key; False when another thread kept it."},
    {"release", (PyCFunction)release, METH_NOARGS, "Wipe the key and let the lock go."},
    {"__enter__", (PyCFunction)enter, METH_NOARGS, "Take the lock, with a fresh key."},
    {"__exit__", (PyCFunction)(void (*)(void))leave, METH_FASTCALL,
     "Wipe the key and let the lock go."},
    {"attach", (PyCFunction)attach, METH_O, "Have a BitGenerator's capsule draw from here."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A lock whose holder has a one-time key; see hwentropy.bit_generator."},
    {Py_tp_new, keyed_lock_new},
    {Py_tp_dealloc, keyed_lock_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "hwentropy._bitgen.KeyedLock",
    .basicsize = sizeof(KeyedLock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

static int module_exec(PyObject *module)
{
    unsigned char stream[HWENTROPY_DRBG_BLOCK];
    if (!hwentropy_chacha20_is_right(stream)) {
        PyErr_SetString(PyExc_ImportError, "the known-answer test of ChaCha20 failed: this "
            "machine or this build computes wrongly; test the hardware, install anew");
        return -1;
    }
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
    .m_name = "_bitgen",
    .m_doc = "The keystream of hwentropy.bit_generator.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__bitgen(void) { return PyModuleDef_Init(&module); }
