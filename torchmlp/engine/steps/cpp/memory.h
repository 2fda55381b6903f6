// What a step is handed over from Python, and whether it is still what it was.

#pragma once

#include <algorithm>
#include <cstdint>

#include <sys/types.h>

extern "C" {
// Python's. None of it where the program exports nothing.
struct PyObject;
struct PyThreadState;
__attribute__((weak)) PyObject* PyObject_GetAttr(PyObject*, PyObject*);
__attribute__((weak)) PyObject* PyObject_CallMethodObjArgs(PyObject*, PyObject*, ...);
__attribute__((weak)) PyObject* PyDict_GetItemWithError(PyObject*, PyObject*);  // borrowed
__attribute__((weak)) PyObject* PyList_GetItem(PyObject*, ssize_t);             // borrowed
__attribute__((weak)) ssize_t PyObject_Size(PyObject*);
__attribute__((weak)) void PyErr_Clear();
__attribute__((weak)) void Py_DecRef(PyObject*);
__attribute__((weak)) PyThreadState* PyEval_SaveThread();
__attribute__((weak)) void PyEval_RestoreThread(PyThreadState*);
// Torch's C interface for compiled models, which does not change between its releases. A handle points to a tensor,
// which is a pointer to torch's own object; each answers 0, or that there is no answer.
int32_t aoti_torch_get_data_ptr(void* handle, void** data);
int32_t aoti_torch_get_storage_size(void* handle, int64_t* bytes);
int32_t aoti_torch_get_storage_offset(void* handle, int64_t* elements);
int32_t aoti_torch_get_numel(void* handle, int64_t* elements);
int32_t aoti_torch_get_dtype(void* handle, int32_t* dtype);
int32_t aoti_torch_get_dim(void* handle, int64_t* dim);
int32_t aoti_torch_get_sizes(void* handle, int64_t** sizes);
int32_t aoti_torch_get_strides(void* handle, int64_t** strides);
}

// Where a tensor's elements lie; see state/addresses.py.
struct Place {
  void* tensor;  // torch's own object
  void* data;
  int64_t room;  // bytes of its storage
  int64_t dim, sizes[4], strides[4];
  int32_t dtype;
  bool is_known;  // false where torch has no answer, or the tensor has more axes
};

// What is expected of an object; see state/changes.py.
enum Kind { ATTRIBUTE, ITEM, ELEMENT, LENGTH, ANSWER };
struct Expectation {
  PyObject *owner, *name, *value;  // of an item that is to be missing, null
  int64_t number;
  int kind;
};

namespace {

inline Place place_of(void* tensor) {
  Place place{tensor};
  int64_t *sizes, *strides;
  place.is_known = !aoti_torch_get_data_ptr(&tensor, &place.data) &&
                   !aoti_torch_get_storage_size(&tensor, &place.room) &&
                   !aoti_torch_get_dtype(&tensor, &place.dtype) && !aoti_torch_get_dim(&tensor, &place.dim) &&
                   !aoti_torch_get_sizes(&tensor, &sizes) && !aoti_torch_get_strides(&tensor, &strides) &&
                   place.dim <= 4;
  for (int axis = 0; place.is_known && axis < place.dim; ++axis) {
    place.sizes[axis] = sizes[axis];
    place.strides[axis] = strides[axis];
  }
  return place;
}

inline bool is_alike(const Place& a, const Place& b) {
  return a.is_known && b.is_known && a.dtype == b.dtype && a.dim == b.dim &&
         std::equal(a.sizes, a.sizes + 4, b.sizes) && std::equal(a.strides, a.strides + 4, b.strides);
}

inline bool is_same(const Place& a, const Place& b) {
  return is_alike(a, b) && a.data == b.data && a.room == b.room;
}

inline bool is_met(const Expectation& e) {
  if (e.kind == LENGTH) return PyObject_Size(e.owner) == e.number;
  if (e.kind == ITEM) return PyDict_GetItemWithError(e.owner, e.name) == e.value;
  if (e.kind == ELEMENT) return PyList_GetItem(e.owner, e.number) == e.value;
  PyObject* found = e.kind == ATTRIBUTE ? PyObject_GetAttr(e.owner, e.name)
                                        : PyObject_CallMethodObjArgs(e.owner, e.name, nullptr);
  if (found) Py_DecRef(found);  // only its address is compared
  return found == e.value;
}

// Called with the GIL held.
inline bool is_as_expected(const Expectation* expectations, int count, const Place* places, int tensors) {
  for (int i = 0; i < count; ++i)
    if (!is_met(expectations[i])) {
      PyErr_Clear();  // an attribute may have gone
      return false;
    }
  for (int i = 0; i < tensors; ++i)
    if (!is_same(places[i], place_of(places[i].tensor))) return false;
  return true;
}

// Whether so many bytes from a tensor's first element on are there, and apart from all that is written meanwhile.
template <class IsApart>
bool is_readable(void* tensor, int64_t bytes, IsApart is_apart) {
  if (!tensor || !bytes) return true;
  void* data;
  int64_t room, offset, count;
  if (aoti_torch_get_data_ptr(&tensor, &data) || aoti_torch_get_storage_size(&tensor, &room) ||
      aoti_torch_get_storage_offset(&tensor, &offset) || aoti_torch_get_numel(&tensor, &count) || !data ||
      count < 1 || bytes / count * offset + bytes > room)
    return false;
  return is_apart(static_cast<const char*>(data), static_cast<const char*>(data) + bytes);
}

}  // namespace
