# Marks the package for Cython: without this file no relative cimport works here.
