# The part of a buffer that holds nothing: in a sanitized build whoever reads it is found, as if the buffer ended before it.
cdef extern from *:
    """
    #ifdef __has_feature
    #if __has_feature(address_sanitizer)
    #define __SANITIZE_ADDRESS__ 1
    #endif
    #endif
    #ifdef __SANITIZE_ADDRESS__
    void __asan_poison_memory_region(void const volatile *at, size_t size);
    void __asan_unpoison_memory_region(void const volatile *at, size_t size);
    #define muxtcp_forbid(at, size) __asan_poison_memory_region(at, size)
    #define muxtcp_allow(at, size) __asan_unpoison_memory_region(at, size)
    #else
    #define muxtcp_forbid(at, size) ((void)(at), (void)(size))
    #define muxtcp_allow(at, size) ((void)(at), (void)(size))
    #endif
    """
    void forbid "muxtcp_forbid" (const void *at, size_t size) nogil     # to its end, the buffer must not be touched
    void allow "muxtcp_allow" (const void *at, size_t size) nogil
