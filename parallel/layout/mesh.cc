#include "parallel/layout/mesh.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// The communicator of one axis, created on all ranks or an error on all ranks.
absl::StatusOr<std::unique_ptr<Communicator>> CreateAxis(CommBackend backend,
                                                         const Process& process,
                                                         const std::string& axis, int size,
                                                         int color, int key) {
  if (size == 1) return MakeSelfCommunicator(axis);
  auto communicator = CreateCommunicator(backend, process, axis, color, key);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(communicator.status()));
  return communicator;
}

}  // namespace

absl::StatusOr<MeshShape> MakeMeshShape(int world_size, int tp, int pp) {
  if (tp < 1 || pp < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("parallel.tensor ", tp, " and parallel.pipeline ", pp, " must be at least 1"));
  }
  const int replica = tp * pp;
  if (world_size % replica != 0) {
    const int works = world_size < replica ? replica : world_size / replica * replica;
    return absl::InvalidArgumentError(
        absl::StrCat("parallel.tensor ", tp, " x parallel.pipeline ", pp, " = ", replica,
                     " ranks hold one copy of the model, which does not divide the ", world_size,
                     world_size == 1 ? " rank" : " ranks",
                     " of this job; start it with: mpirun -np ", works, " fttrain --config=FILE"));
  }
  return MeshShape{.tp = tp, .pp = pp, .dp = world_size / replica};
}

MeshPosition PositionOfRank(const MeshShape& shape, int rank) {
  return {
      .tp = rank % shape.tp, .pp = rank / shape.tp % shape.pp, .dp = rank / (shape.tp * shape.pp)};
}

absl::StatusOr<std::unique_ptr<Mesh>> Mesh::Create(CommBackend backend, const Process& process,
                                                   const MeshShape& shape) {
  if (shape.world_size() != process.world_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "mesh: tp ", shape.tp, " x pp ", shape.pp, " x dp ", shape.dp, " = ", shape.world_size(),
        " is not the ", process.world_size(), " ranks of this job"));
  }
  const MeshPosition at = PositionOfRank(shape, process.rank());
  std::unique_ptr<Mesh> mesh(new Mesh);
  mesh->shape_ = shape;
  mesh->position_ = at;
  // The color of an axis numbers the lines of the grid that run along it.
  FT_ASSIGN_OR_RETURN(
      mesh->tp_, CreateAxis(backend, process, "tp", shape.tp, at.dp * shape.pp + at.pp, at.tp));
  FT_ASSIGN_OR_RETURN(
      mesh->pp_, CreateAxis(backend, process, "pp", shape.pp, at.dp * shape.tp + at.tp, at.pp));
  FT_ASSIGN_OR_RETURN(
      mesh->dp_, CreateAxis(backend, process, "dp", shape.dp, at.pp * shape.tp + at.tp, at.dp));
  return mesh;
}

std::unique_ptr<Mesh> Mesh::Single() {
  std::unique_ptr<Mesh> mesh(new Mesh);
  mesh->tp_ = MakeSelfCommunicator("tp");
  mesh->pp_ = MakeSelfCommunicator("pp");
  mesh->dp_ = MakeSelfCommunicator("dp");
  return mesh;
}

}  // namespace fttrain
