#include "parallel/layout/mesh.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Every line there is. Along both data axes are all who hold the same but experts; along one, those
// who exchange tokens, and those who hold the same experts.
struct NamedLine {
  AxisSet axes;
  const char* name;
  Communicator::Use use = Communicator::Use::kCollectives;
};
// Over pp stages send to the first one what is saved, and the two ends each other's gradients.
constexpr NamedLine kLines[] = {{{}, "self"},
                                {{Axis::kTp}, "tp"},
                                {{Axis::kPp}, "pp", Communicator::Use::kWithFirst},
                                {{Axis::kEp}, "ep", Communicator::Use::kExchanges},
                                {{Axis::kDp}, "dp of experts"},
                                {kDataAxes, "dp"}};

// Where ep is 1 those along kDp are those along both data axes: one line, one communicator.
AxisSet LineOf(const MeshShape& shape, AxisSet axes) {
  return shape.ep == 1 && axes.Has(Axis::kDp) ? axes | AxisSet{Axis::kEp} : axes;
}

int CoordinateOf(const MeshShape& shape, const MeshPosition& position, Axis axis) {
  switch (axis) {
    case Axis::kTp:
      return position.tp;
    case Axis::kPp:
      return position.pp;
    case Axis::kEp:
      return position.dp % shape.ep;
    case Axis::kDp:
      return position.dp / shape.ep;
  }
  FT_CHECK(false, "axis ", static_cast<int>(axis));
}

}  // namespace

int MeshShape::size(Axis axis) const {
  switch (axis) {
    case Axis::kTp:
      return tp;
    case Axis::kPp:
      return pp;
    case Axis::kEp:
      return ep;
    case Axis::kDp:
      return dp / ep;
  }
  FT_CHECK(false, "axis ", static_cast<int>(axis));
}

int MeshShape::size(AxisSet axes) const {
  int product = 1;
  for (const Axis axis : kEveryAxis) product *= axes.Has(axis) ? size(axis) : 1;
  return product;
}

absl::StatusOr<MeshShape> MakeMeshShape(int world_size, int tp, int pp, int ep) {
  if (tp < 1 || pp < 1 || ep < 1) {
    return absl::InvalidArgumentError(absl::StrCat("parallel.tensor ", tp, ", parallel.pipeline ",
                                                   pp, " and parallel.expert ", ep,
                                                   " must be at least 1"));
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
  const int dp = world_size / replica;
  if (dp % ep != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("parallel.expert ", ep, " must divide the ", dp, dp == 1 ? " rank" : " ranks",
                     " of data parallelism, ", world_size, " / (parallel.tensor ", tp,
                     " x parallel.pipeline ", pp, "); start this job with: mpirun -np ",
                     replica * std::max(ep, dp / ep * ep), " fttrain --config=FILE"));
  }
  return MeshShape{.tp = tp, .pp = pp, .dp = dp, .ep = ep};
}

MeshPosition PositionOfRank(const MeshShape& shape, int rank) {
  return {
      .tp = rank % shape.tp, .pp = rank / shape.tp % shape.pp, .dp = rank / (shape.tp * shape.pp)};
}

int IndexIn(const MeshShape& shape, const MeshPosition& position, AxisSet axes) {
  int index = 0, stride = 1;
  for (const Axis axis : kEveryAxis) {
    if (!axes.Has(axis)) continue;
    index += CoordinateOf(shape, position, axis) * stride;
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
    if (LineOf(shape, axes) != axes) {
      mesh->lines_.push_back(nullptr);
      continue;
    }
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
    if (kLines[i].axes == LineOf(shape_, axes)) return *lines_[i];
  }
  FT_CHECK(false, "a mesh has no lines along these axes");
}

void Mesh::AllReduce(const at::Tensor& tensor, AxisSet axes, ReduceOp op) const {
  const bool all_data = axes.Has(Axis::kEp) && axes.Has(Axis::kDp);
  for (const Axis axis : kEveryAxis) {
    if (!axes.Has(axis)) continue;
    if (!all_data || !kDataAxes.Has(axis)) {
      Line({axis}).AllReduce(tensor, op);
    } else if (axis == Axis::kDp) {
      Line(kDataAxes).AllReduce(tensor, op);
    }
  }
}

}  // namespace fttrain
