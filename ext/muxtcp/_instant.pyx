"""What is done already can be awaited for almost nothing: `send()` returns DONE for each message that needs not wait."""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, PyTypeObject


@cython.final
cdef class Done:
    """What send() returns when the message was accepted at once; one for all."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise AssertionError("replaced by done_next")

    def send(self, value):
        raise StopIteration

    def throw(self, kind, value=None, traceback=None):
        raise kind if value is None else value

    def close(self):
        pass


cdef int done_send(PyObject *self, PyObject *arg, PyObject **result) except? -1:
    Py_INCREF(None)
    result[0] = <PyObject *>None
    return PYGEN_RETURN


cdef PyObject *done_next(PyObject *self) except? NULL:
    muxtcp_return(<PyObject *>None)
    return NULL


muxtcp_install(<PyTypeObject *>Done, done_send, done_next)
DONE = Done()
