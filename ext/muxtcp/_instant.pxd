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
#if PY_VERSION_HEX >= 0x030C0000
    /* From 3.12 on each await ends here, and making the exception by a call of its type, as PyErr_SetObject does, would be a third of all
     * that send() and recv() cost. What takes the value never looks at args. */
    static CYTHON_UNUSED PyObject *muxtcp_stop(PyObject *value) {
        PyTypeObject *type = (PyTypeObject *)PyExc_StopIteration;
        PyStopIterationObject *stop = (PyStopIterationObject *)type->tp_alloc(type, 0);
        if (!stop) return NULL;
        stop->value = Py_NewRef(value);
        stop->args = PyTuple_New(0);
        if (!stop->args) Py_CLEAR(stop);
        return (PyObject *)stop;
    }
    static CYTHON_UNUSED int muxtcp_untouched(PyObject *stop) {     /* nobody has kept it, or caught it in Python */
        PyBaseExceptionObject *base = (PyBaseExceptionObject *)stop;
        return Py_REFCNT(stop) == 1 && !base->traceback && !base->context && !base->cause && !base->notes && !base->dict;
    }
    static CYTHON_UNUSED void muxtcp_return(PyObject *value) {
        static PyObject *none = NULL;                               /* what send() ends with, used again and again */
        PyObject *stop;
        if (value != Py_None) {
            stop = muxtcp_stop(value);
        } else {
            if (!none || !muxtcp_untouched(none)) Py_XSETREF(none, muxtcp_stop(Py_None));
            stop = Py_XNewRef(none);
        }
        if (stop) PyErr_SetRaisedException(stop);
    }
#else
    /* A tuple or an exception as the value would be unpacked by PyErr_SetObject: those need an instance. */
    static CYTHON_UNUSED void muxtcp_return(PyObject *value) {
        if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
            PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
            if (stop) { PyErr_SetObject(PyExc_StopIteration, stop); Py_DECREF(stop); }
        } else {
            PyErr_SetObject(PyExc_StopIteration, value);
        }
    }
#endif
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
