// The grid of ranks: rank = (dp_rank * pp_size + pp_rank) * tp_size + tp_rank. Passed in, never
// global.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "runtime/comm/communicator.h"

namespace fttrain {

struct MeshShape {
  int tp = 1;
  int pp = 1;
  int dp = 1;
  int world_size() const { return tp * pp * dp; }
};

// Where one rank stands.
struct MeshPosition {
  int tp = 0;
  int pp = 0;
  int dp = 0;
};

// Pure. InvalidArgument, with the arithmetic and an mpirun line that works, unless tp * pp divides
// world_size; dp = world_size / (tp * pp).
absl::StatusOr<MeshShape> MakeMeshShape(int world_size, int tp, int pp);
MeshPosition PositionOfRank(const MeshShape& shape, int rank);

class Mesh {
 public:
  // Collective over the world: splits one communicator per axis, in the order tp, pp, dp (an axis
  // of one rank needs none). Errors are agreed on by all ranks. `process` must outlive the mesh.
  static absl::StatusOr<std::unique_ptr<Mesh>> Create(CommBackend backend, const Process& process,
                                                      const MeshShape& shape);
  // One rank, for tests and single-process commands.
  static std::unique_ptr<Mesh> Single();

  const MeshShape& shape() const { return shape_; }
  const MeshPosition& position() const { return position_; }
  Communicator& tp() const { return *tp_; }
  Communicator& pp() const { return *pp_; }
  Communicator& dp() const { return *dp_; }

 private:
  Mesh() = default;
  MeshShape shape_;
  MeshPosition position_;
  std::unique_ptr<Communicator> tp_, pp_, dp_;
};

}  // namespace fttrain
