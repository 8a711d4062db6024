// The libraries under this program: those that it was compiled for and those that it has loaded.
#pragma once

#include <string>

namespace fttrain {

struct Versions {
  std::string torch_compiled, torch_loaded;          // "2.11.0"
  std::string mpi_compiled, mpi_loaded;              // "4.1.4"; empty: it is no Open MPI
  bool with_cuda = false;                            // in this program
  std::string cuda_compiled, cuda_loaded;            // "13.0": of the runtime; empty: none
  std::string cuda_driver;                           // the newest CUDA it serves; empty: no driver
  std::string nccl_compiled, nccl_loaded;            // "2.28.9"; empty: none
  bool operator==(const Versions&) const = default;  // ranks are to have the same
};

// Asks no GPU, and MPI nothing that it must have been started for.
Versions VersionsInUse();

// "4.1.4" of what MPI_Get_library_version tells; empty where it is not Open MPI's. Pure, as are the
// next two.
std::string OpenMpiVersion(const std::string& library);
std::string CudaVersionText(int code);  // 13020 -> "13.2", 0 -> ""
std::string NcclVersionText(int code);  // 22809 -> "2.28.9", 0 -> ""

}  // namespace fttrain
