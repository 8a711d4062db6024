#include "launch/plan/links.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "launch/plan/counts.h"
#include "model/blocks/decoder_layer.h"
#include "model/config/alike_linears.h"
#include "model/linears/expert_factors.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

constexpr double kGradientBytes = 4;  // float32

// Ranks that differ in these axes alone, for every such line of the mesh.
std::vector<std::vector<int>> LinesAlong(const MeshShape& shape, AxisSet axes) {
  std::map<int, std::vector<int>> lines;
  for (int rank = 0; rank < shape.world_size(); ++rank) {
    lines[IndexIn(shape, PositionOfRank(shape, rank), Others(axes))].push_back(rank);
  }
  std::vector<std::vector<int>> all;
  for (auto& [index, line] : lines) all.push_back(std::move(line));
  return all;
}

class Hosts {
 public:
  explicit Hosts(const Rig& rig) : rig_(rig) {}

  // Each rank sends to the next of its line; closed: the last one to the first. What leaves a host
  // shares its network.
  double Rate(const std::vector<std::vector<int>>& lines, bool closed, double within) const {
    std::vector<int> leaving(static_cast<size_t>(rig_.hosts));
    for (const std::vector<int>& line : lines) {
      for (size_t i = 0; i + (closed ? 0 : 1) < line.size(); ++i) {
        const int from = HostOf(line[i]), to = HostOf(line[(i + 1) % line.size()]);
        if (from != to) ++leaving[static_cast<size_t>(from)];
      }
    }
    return Slower(*std::max_element(leaving.begin(), leaving.end()), within);
  }

  // Each rank sends as much to every other of its line.
  double ExchangeRate(const std::vector<std::vector<int>>& lines, double within) const {
    std::vector<double> leaving(static_cast<size_t>(rig_.hosts));
    for (const std::vector<int>& line : lines) {
      std::vector<int> at(leaving.size());  // ranks of the line, by host
      for (const int rank : line) ++at[static_cast<size_t>(HostOf(rank))];
      const auto size = static_cast<int>(line.size());
      for (size_t host = 0; host < at.size(); ++host) {
        leaving[host] += static_cast<double>(at[host] * (size - at[host])) / (size - 1);
      }
    }
    return Slower(*std::max_element(leaving.begin(), leaving.end()), within);
  }

 private:
  // What leaves a host, over what one of its ranks sends.
  double Slower(double leaving, double within) const {
    return leaving == 0 ? within : std::min(within, rig_.between_hosts / leaving);
  }
  int HostOf(int rank) const { return rank / rig_.cards_per_host(); }
  const Rig& rig_;
};

double WidthOf(const Task& task) {
  return static_cast<double>(c10::elementSize(task.form.compute));
}

// Counts a linear's parameters as DeclareLinear declares them.
void AddLinear(const LinearSpec& linear, const Task& task, int tp, GroupBytes& bytes) {
  const auto extent = static_cast<double>(SliceOf(linear, {0, tp}).range.extent);
  const bool column = !linear.splits_input(), whole = linear.split == LinearSplit::kWhole;
  const double in = column ? static_cast<double>(linear.in) : extent;
  const double out = column ? extent : static_cast<double>(linear.out);
  const double elements = in * out + (linear.bias ? out : 0);
  const double values =
      BytesPerElement(task, linear) * in * out + (linear.bias ? out * WidthOf(task) : 0);
  if (task.form.train_base) {
    bytes.trained += values;
    bytes.gradients += elements * kGradientBytes;
    if (tp > 1 && whole) bytes.partial += elements * kGradientBytes;
  } else {
    bytes.frozen += values;
  }
  const std::optional<LowRank> adapter = task.form.AdapterOf(linear);
  if (!adapter) return;
  const auto rank = static_cast<double>(adapter->r);
  const auto factor = static_cast<double>(c10::elementSize(FactorDtype(task.form.compute)));
  const double first = HasFactorA(linear) ? in : 0;
  bytes.trained += rank * (first + out) * factor;
  bytes.gradients += rank * (first + out) * kGradientBytes;
  // Of a linear that is cut one factor is whole and its gradient a part, of a whole one both are.
  const double partial = (column ? first : 0) + (column && !whole ? 0 : out);
  if (tp > 1) bytes.partial += rank * partial * kGradientBytes;
}

void AddNorm(double size, const Task& task, GroupBytes& bytes) {
  (task.form.train_base ? bytes.trained : bytes.frozen) += size * WidthOf(task);
  if (task.form.train_base) bytes.gradients += size * kGradientBytes;
}

GroupBytes BytesOfTable(const Task& task, const Layout& layout, double bytes_per_element) {
  const auto elements = static_cast<double>(
      CeilDivide(task.model.vocab_size, int64_t{layout.mesh.tp}) * task.model.hidden_size);
  if (!task.form.train_base) return {.frozen = elements * bytes_per_element};
  return {.trained = elements * bytes_per_element, .gradients = elements * kGradientBytes};
}

GroupBytes operator+(const GroupBytes& a, const GroupBytes& b) {
  return {a.frozen + b.frozen, a.trained + b.trained, a.gradients + b.gradients,
          a.partial + b.partial, a.kept + b.kept};
}

GroupBytes operator*(double times, const GroupBytes& bytes) {
  return {times * bytes.frozen, times * bytes.trained, times * bytes.gradients,
          times * bytes.partial, times * bytes.kept};
}

}  // namespace

Links LinksOf(const Layout& layout, const Rig& rig) {
  const MeshShape& mesh = layout.mesh;
  const Hosts hosts(rig);
  Links links;
  links.host = rig.host_copy;
  links.disk = rig.disk / rig.cards_per_host();
  links.ranks_per_host = std::min(rig.cards_per_host(), mesh.world_size());
  const auto along = [&](AxisSet axes, bool closed, double within) {
    if (mesh.size(axes) == 1) return 0.0;
    return hosts.Rate(LinesAlong(mesh, axes), closed, within);
  };
  links.tp = along({Axis::kTp}, /*closed=*/true, rig.collective);
  links.dp = along(kDataAxes, /*closed=*/true, rig.collective);
  if (mesh.ep > 1) {
    links.ep = hosts.ExchangeRate(LinesAlong(mesh, {Axis::kEp}), rig.collective);
  }
  // Several chunks a stage: the last stage sends to the first.
  const bool ring = static_cast<int>(layout.layers_per_run.size()) > mesh.pp;
  links.pp = along({Axis::kPp}, ring, rig.neighbour);
  return links;
}

GroupBytes BytesOfLayer(const LayerSpec& layer, const Task& task, const Layout& layout) {
  const int tp = layout.mesh.tp;
  GroupBytes bytes;
  for (const BlockSpec& block : layer) {
    for (const auto& [linears, times] : AlikeLinearsByInput(block)) {
      GroupBytes one;
      for (const LinearSpec& linear : linears) AddLinear(linear, task, tp, one);
      bytes = bytes + static_cast<double>(times) * one;
    }
    ForEachPart(
        block, [&](const NormSpec& norm) { AddNorm(static_cast<double>(norm.size), task, bytes); },
        /*linear=*/{},
        [&](const ConstantSpec& constant) {
          bytes.frozen += static_cast<double>(constant.size) *
                          static_cast<double>(c10::elementSize(FactorDtype(task.form.compute)));
        },
        [&](const AttentionSpec& attention) {
          AddNorm(static_cast<double>(attention.heads / tp), task, bytes);
        });
  }
  bytes.kept = static_cast<double>(KeptBytes(layer, ModelOptionsOf(task, layout), tp,
                                             static_cast<int64_t>(MicrobatchTokens(task, layout))));
  return bytes;
}

GroupBytes BytesOfEmbedding(const Task& task, const Layout& layout) {
  return BytesOfTable(task, layout, WidthOf(task));
}

GroupBytes BytesOfHead(const Task& task, const Layout& layout) {
  GroupBytes bytes;
  if (!task.model.head.tied) {
    bytes = BytesOfTable(task, layout, BytesPerElement(task, task.model.head.name));
  }
  AddNorm(static_cast<double>(task.model.hidden_size), task, bytes);
  return bytes;
}

}  // namespace fttrain
