// A tiny model that `fttrain train`'s own code builds and trains in float64, in any layout, for
// tests under mpirun.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launch/run/held_out_loss.h"
#include "launch/run/trainer.h"
#include "model/config/families/llama_shape.h"
#include "tests/mpi_test_main.h"

namespace fttrain {

constexpr int64_t kSequence = 24;  // tokens of a row
constexpr int64_t kSteps = 4;

// 8 heads and 2 kv heads, a vocabulary that tp does not divide, a window in the second layer.
LlamaShape TinyShape(bool tied = false, int layers = 2);

struct TinyOptions {
  bool full = false;  // all weights; else adapters with dropout on every linear
  bool tied = false;
  bool packing = true;
  int layers = 2;
  bool nf4 = false;  // with adapters
  // Four experts in every layer but the first; adapters are on attention alone, without dropout.
  bool experts = false;
};
// kSteps steps of 16 rows, with clipping, decay and a learning rate that moves.
Task TinyTask(const TinyOptions& options = {});

// Documents of 3 to 20 tokens and one of a whole row, about half of the labels masked.
std::vector<Example> Documents();
// Gives every parameter this rank's slice of values that depend on its name and the global index
// alone.
WeightSource ValuesByName();
JobInputs TinyInputs(const Task& task);

// On the CPU or, with FTTRAIN_TEST_DEVICE=cuda, on GPUs; it must work. Collective over `process`: a
// layout of one rank is built by each.
std::unique_ptr<Job> BuildTiny(const Task& task, Layout layout,
                               const Process& process = TestProcess());
std::unique_ptr<Job> BuildTiny(const Task& task, Layout layout, const JobInputs& inputs,
                               const Process& process = TestProcess());
// On one line, for messages.
std::string ToString(const Layout& layout);

using WholeTensors = std::map<std::string, at::Tensor>;  // by name, of this rank's stage

// Documents() as rows to evaluate.
std::shared_ptr<RowStream> HeldOut(const Task& task);

// What a job computed.
struct Trained {
  std::vector<StepMetrics> metrics;
  std::vector<WholeTensors> gradients;  // of each step
  WholeTensors parameters;              // trainable ones, after the last
  double held_out_loss = 0;             // of Documents(), after the last
};
// Collective over the mesh, as is all that follows.
Trained Train(Job& job, int64_t steps);

// Errors relative to the largest element of each tensor, and to each number.
struct Near {
  double gradients = 1e-10, numbers = 1e-10;
  // Steps that are compared so, and whether parameters are too; of all steps the loss is within a
  // thousandth.
  int64_t steps = kSteps;
  bool parameters = true;
};
void ExpectNear(const Trained& got, const Trained& want, const Mesh& mesh, const Near& near = {});

// Takes a step, and calls `see` when its gradients are final in each rank's shard.
void SeeGradients(Job& job, const std::function<void()>& see);

}  // namespace fttrain
