// A mesh of the whole test job: for tests under mpirun.
#pragma once

#include <memory>

#include "parallel/layout/mesh.h"
#include "tests/mpi_test_main.h"

namespace fttrain {

// tp ranks of tensor parallelism and pp of a pipeline, the rest data parallel, of which ep divide
// the experts. Collective over the world.
inline std::unique_ptr<Mesh> TestMesh(int tp, int pp = 1, int ep = 1) {
  const MeshShape shape = MakeMeshShape(TestProcess().world_size(), tp, pp, ep).value();
  return Mesh::Create(CreateMpiCommunicator, TestProcess(), shape).value();
}

}  // namespace fttrain
