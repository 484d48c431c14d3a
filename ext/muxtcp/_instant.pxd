# Awaitables that cost neither a future nor a StopIteration raised through Python: two slots are filled in after a type exists, am_send,
# which CPython 3.11 asks first, and tp_iternext, which 3.12 and later call directly.
from cpython.object cimport PyObject
from cpython.ref cimport PyTypeObject

cdef extern from *:
    """
    static CYTHON_UNUSED int muxtcp_install(PyTypeObject *type, int (*send)(PyObject *, PyObject *, PyObject **),
                                            PyObject *(*next)(PyObject *)) {
        PyAsyncMethods *methods = (PyAsyncMethods *)PyMem_Calloc(1, sizeof(PyAsyncMethods));    /* lives as long as the type */
        if (!methods) { PyErr_NoMemory(); return -1; }
        if (type->tp_as_async) *methods = *type->tp_as_async;
        methods->am_send = (sendfunc)send;
        type->tp_as_async = methods;
        type->tp_iternext = next;
        PyType_Modified(type);
        return 0;
    }
    /* A tuple or an exception as the value would be unpacked by PyErr_SetObject: those need an instance. */
    static CYTHON_UNUSED void muxtcp_return(PyObject *value) {
        if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
            PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
            if (stop) { PyErr_SetObject(PyExc_StopIteration, stop); Py_DECREF(stop); }
        } else {
            PyErr_SetObject(PyExc_StopIteration, value);
        }
    }
    """
    int muxtcp_install(PyTypeObject *type, int (*send)(PyObject *, PyObject *, PyObject **) except? -1,
                       PyObject *(*next)(PyObject *) except? NULL) except -1
    void muxtcp_return(PyObject *value)
    enum:
        PYGEN_RETURN
        PYGEN_NEXT

cdef class Done:
    pass

cdef Done DONE
