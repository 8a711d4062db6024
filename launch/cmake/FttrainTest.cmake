# fttrain_test(NAME SOURCES a.cc ... [LIBS ...] [NP 1 2 4] LABELS unit|dist|gpu|gpus [TIMEOUT seconds])
# LIBS fttrain_configs and fttrain_data alone: no torch; the others share its precompiled header.
# One executable; without NP one plain run, with NP one mpirun per rank count, named NAME.npN. Label gpu needs one
# GPU, gpus as many as ranks.

# Makes mpirun work as root and with more ranks than cores; one intra-op thread per rank.
set(FTTRAIN_MPI_ENV
    "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_hwloc_base_binding_policy=none;OMPI_MCA_btl_vader_single_copy_mechanism=none;OMP_NUM_THREADS=1")

function(fttrain_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;NP;LABELS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  add_executable(${name} ${T_SOURCES})
  # What is tested is optimised; optimising the tests as well takes a quarter of their compilation.
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O1>)
  set(torch_libs ${T_LIBS})
  list(REMOVE_ITEM torch_libs fttrain_configs fttrain_data)
  if(torch_libs)
    target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess;-fPIC>")  # as the header's
    target_precompile_headers(${name} REUSE_FROM fttrain_pch)
    if(FTTRAIN_WITH_CUDA)
      target_compile_definitions(${name} PRIVATE FTTRAIN_WITH_CUDA=1)  # as the header's
    endif()
  endif()
  if(T_NP)
    target_link_libraries(${name} PRIVATE ${T_LIBS} fttrain_mpi_test_main GTest::gmock fttrain_flags)
    foreach(np ${T_NP})
      add_test(NAME ${name}.np${np} COMMAND ${MPIEXEC_EXECUTABLE} -np ${np} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}.np${np} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT}
          ENVIRONMENT "${FTTRAIN_MPI_ENV}")
      if(np GREATER 1)
        set_tests_properties(${name}.np${np} PROPERTIES PROCESSORS 2)
      endif()
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE ${T_LIBS} GTest::gmock GTest::gmock_main GTest::gtest fttrain_flags)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT})
  endif()
endfunction()
