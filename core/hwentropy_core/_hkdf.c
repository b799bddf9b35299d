/* HKDF-SHA-512 that leaves nothing of salt, material or result in freed memory.
 *
 *   into(out, salt, ikm, info)
 *
 * Reads and writes buffers that their owners overwrite; what it needs itself lies on
 * the stack and is overwritten before it returns.  The hash is that of the C client
 * (client/c/hwentropy/sha512.h).  hkdf.py has a library do it where this was not
 * built; one set of tests holds both.
 *
 * What this does not protect against: what a compiler keeps in registers and in
 * temporaries that it spilled.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "hwentropy/sha512.h"

/* RFC 5869 2.3. */
enum { MOST_BYTES = 255 * HWENTROPY_SHA512_BYTES };

static PyObject *into(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer out, salt, ikm, info;
    if (!PyArg_ParseTuple(arguments, "w*y*y*y*:into", &out, &salt, &ikm, &info)) {
        return NULL;
    }
    int fits = out.len <= MOST_BYTES;
    if (fits) {
        hwentropy_hkdf(out.buf, (size_t)out.len, salt.buf, (size_t)salt.len, ikm.buf,
                       (size_t)ikm.len, info.buf, (size_t)info.len);
    } else {
        PyErr_SetString(PyExc_ValueError, "HKDF-SHA-512 gives at most 16320 bytes");
    }
    PyBuffer_Release(&info);
    PyBuffer_Release(&ikm);
    PyBuffer_Release(&salt);
    PyBuffer_Release(&out);
    if (!fits) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"into", into, METH_VARARGS, "into(out, salt, ikm, info): fill `out`."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_hkdf",
    .m_doc = "HKDF-SHA-512 for hwentropy_core.hkdf.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__hkdf(void) { return PyModuleDef_Init(&module); }
