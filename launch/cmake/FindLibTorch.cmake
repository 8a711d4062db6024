# Imported targets LibTorch::cpu, LibTorch::openmp and, with CUDA, LibTorch::cuda and LibTorch::nccl.
# The wheel's own CMake package is not used: it hijacks Protobuf, probes for GPUs and insists on a toolkit.
if(NOT FTTRAIN_TORCH_ROOT)
  file(GLOB _torch_candidates ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  list(POP_FRONT _torch_candidates _torch_first)
  set(FTTRAIN_TORCH_ROOT "${_torch_first}" CACHE PATH "" FORCE)
endif()
if(NOT EXISTS ${FTTRAIN_TORCH_ROOT}/include/ATen/ATen.h)
  message(FATAL_ERROR "No LibTorch at '${FTTRAIN_TORCH_ROOT}': run launch/setup.sh, or pass -DFTTRAIN_TORCH_ROOT=FOLDER")
endif()
set(_torch_lib ${FTTRAIN_TORCH_ROOT}/lib)

add_library(LibTorch::c10 SHARED IMPORTED)
set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${_torch_lib}/libc10.so)
add_library(LibTorch::cpu SHARED IMPORTED)
set_target_properties(LibTorch::cpu PROPERTIES
    IMPORTED_LOCATION ${_torch_lib}/libtorch_cpu.so
    INTERFACE_INCLUDE_DIRECTORIES "${FTTRAIN_TORCH_ROOT}/include"
    INTERFACE_LINK_LIBRARIES LibTorch::c10)

# at::parallel_for is inline code for OpenMP. There is one pool of threads: of the libgomp that torch itself loads. The
# wheel brings one; the compiler's, of the same name in another folder, must not be linked beside it.
file(GLOB _torch_gomp ${_torch_lib}/libgomp*.so*)
if(_torch_gomp)
  list(GET _torch_gomp 0 _torch_gomp)
  add_library(LibTorch::openmp SHARED IMPORTED)
  set_target_properties(LibTorch::openmp PROPERTIES
      IMPORTED_LOCATION ${_torch_gomp} INTERFACE_COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:CXX>:-fopenmp>")
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  add_library(LibTorch::openmp ALIAS OpenMP::OpenMP_CXX)
endif()

if(FTTRAIN_WITH_CUDA)
  add_library(LibTorch::c10_cuda SHARED IMPORTED)
  set_target_properties(LibTorch::c10_cuda PROPERTIES IMPORTED_LOCATION ${_torch_lib}/libc10_cuda.so)
  add_library(LibTorch::cuda SHARED IMPORTED)
  set_target_properties(LibTorch::cuda PROPERTIES
      IMPORTED_LOCATION ${_torch_lib}/libtorch_cuda.so
      INTERFACE_LINK_LIBRARIES "LibTorch::cpu;LibTorch::c10_cuda;CUDA::cudart")
  # No symbol of ours is in libtorch_cuda: its kernels register themselves when it is loaded. Debian's and Ubuntu's
  # compilers drop a library that resolves no symbol (--as-needed), and with it every CUDA kernel of ATen.
  set_property(TARGET LibTorch::cuda PROPERTY INTERFACE_LINK_OPTIONS
      "LINKER:--push-state,--no-as-needed" "${_torch_lib}/libtorch_cuda.so" "LINKER:--pop-state")
  # One NCCL per process: the one libtorch_cuda loads. Its wheel lies beside torch; else the toolkit's.
  find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl
               HINTS ${FTTRAIN_TORCH_ROOT}/../nvidia/nccl/lib ${_torch_lib})
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${FTTRAIN_TORCH_ROOT}/../nvidia/nccl/include
            ${CUDAToolkit_INCLUDE_DIRS} NO_DEFAULT_PATH)
  if(NOT NCCL_LIBRARY OR NOT NCCL_INCLUDE_DIR)
    message(FATAL_ERROR "NCCL was not found beside torch nor in the CUDA toolkit; pass -DNCCL_LIBRARY and -DNCCL_INCLUDE_DIR")
  endif()
  add_library(LibTorch::nccl SHARED IMPORTED)
  set_target_properties(LibTorch::nccl PROPERTIES
      IMPORTED_LOCATION ${NCCL_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${NCCL_INCLUDE_DIR})
endif()
set(LibTorch_FOUND TRUE)
