#include "parallel/layout/mesh.h"

#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Every line there is. One along several axes (say, of all who hold an expert's copy) is one more
// entry.
struct NamedLine {
  AxisSet axes;
  const char* name;
  Communicator::Use use = Communicator::Use::kCollectives;
};
// Over pp stages send to the first one what is saved, and the two ends each other's gradients.
constexpr NamedLine kLines[] = {{{}, "self"},
                                {{Axis::kTp}, "tp"},
                                {{Axis::kPp}, "pp", Communicator::Use::kWithFirst},
                                {{Axis::kDp}, "dp"}};

// A size of a shape, or a coordinate of a position.
template <typename PerAxis>
int FieldOf(const PerAxis& fields, Axis axis) {
  switch (axis) {
    case Axis::kTp:
      return fields.tp;
    case Axis::kPp:
      return fields.pp;
    case Axis::kDp:
      return fields.dp;
  }
  FT_CHECK(false, "axis ", static_cast<int>(axis));
}

constexpr AxisSet Others(AxisSet axes) {
  AxisSet others = {};
  for (const Axis axis : kEveryAxis) {
    if (!axes.Has(axis)) others = others | AxisSet{axis};
  }
  return others;
}

}  // namespace

int MeshShape::size(Axis axis) const { return FieldOf(*this, axis); }

int MeshShape::size(AxisSet axes) const {
  int product = 1;
  for (const Axis axis : kEveryAxis) product *= axes.Has(axis) ? size(axis) : 1;
  return product;
}

int MeshPosition::at(Axis axis) const { return FieldOf(*this, axis); }

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

int IndexIn(const MeshShape& shape, const MeshPosition& position, AxisSet axes) {
  int index = 0, stride = 1;
  for (const Axis axis : kEveryAxis) {
    if (!axes.Has(axis)) continue;
    index += position.at(axis) * stride;
    stride *= shape.size(axis);
  }
  return index;
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
  for (const auto& [axes, name, use] : kLines) {
    if (shape.size(axes) == 1) {
      mesh->lines_.push_back(MakeSelfCommunicator(name));
      continue;
    }
    FT_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> line,
                        CreateCommunicator(backend, process,
                                           {.axis = name,
                                            .color = IndexIn(shape, at, Others(axes)),
                                            .key = IndexIn(shape, at, axes),
                                            .size = shape.size(axes),
                                            .use = use}));
    mesh->lines_.push_back(std::move(line));
  }
  return mesh;
}

std::unique_ptr<Mesh> Mesh::Single() {
  std::unique_ptr<Mesh> mesh(new Mesh);
  for (const auto& line : kLines) mesh->lines_.push_back(MakeSelfCommunicator(line.name));
  return mesh;
}

Communicator& Mesh::Line(AxisSet axes) const {
  for (size_t i = 0; i < std::size(kLines); ++i) {
    if (kLines[i].axes == axes) return *lines_[i];
  }
  FT_CHECK(false, "a mesh has no lines along these axes");
}

void Mesh::AllReduce(const at::Tensor& tensor, AxisSet axes, ReduceOp op) const {
  for (const Axis axis : kEveryAxis) {
    if (axes.Has(axis)) Line({axis}).AllReduce(tensor, op);
  }
}

}  // namespace fttrain
