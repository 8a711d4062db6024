// A tiny model trained for a few steps in float64, in any layout, for tests under mpirun.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "launch/run/trainer.h"
#include "parallel/storage/param_gather.h"
#include "runtime/process/check.h"
#include "tests/launch/run/training_task.h"
#include "tests/mpi_test_main.h"

namespace fttrain {

constexpr int64_t kSteps = 4;

// Over the ranks of `process`; it must work.
std::unique_ptr<Mesh> CreateMesh(const MeshShape& shape, const Process& process = TestProcess());
// On one line, for messages.
std::string ToString(const MeshShape& shape, const Layout& layout);

// Documents of 3 to 20 tokens, about half of the labels masked.
std::vector<Example> Documents();

// This rank's slice of values that depend on the parameter's name and the global index alone.
void Fill(ParameterStore& store, const Nf4Options& nf4 = {});
void Fill(ParameterSet& set);

// Everything of a rank that trains `task`, filled with the task's values.
struct TrainingRig {
  TrainingRig(const Mesh& on, const Layout& in, const Task& of);
  TrainingRig(const TrainingRig&) = delete;

  StepShape Shape() const;  // the same rows a step in every layout
  std::vector<PipelineStep> Schedule() const;

  const Mesh& mesh;
  const Layout layout;
  const Task task;
  const std::vector<Example> examples = Documents();
  ParameterSet set;
  std::unique_ptr<ParameterStore> store;
  Transformer model;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<StageLinks> links;
  std::unique_ptr<RowStream> rows;
};

using WholeTensors = std::map<std::string, at::Tensor>;  // by name, of this rank's stage

// One step, up to gradients that are final in each rank's shard. Collective over the mesh, as is
// all that follows.
void RunStep(TrainingRig& rig, int64_t step);
WholeTensors WholeGradients(TrainingRig& rig);  // after RunStep
WholeTensors GradientsOfAStep(TrainingRig& rig);
WholeTensors WholeParameters(TrainingRig& rig);  // those trained

// Of kSteps steps.
Trainer MakeTrainer(TrainingRig& rig);
struct Outcome {
  std::vector<StepMetrics> metrics;
  WholeTensors parameters;
};
Outcome Train(const Mesh& mesh, const Layout& layout, const Task& task);
void ExpectEqual(const Outcome& got, const Outcome& want, const Mesh& mesh);

// Names that some stage of `mine` has.
std::set<std::string> NamesOverStages(const WholeTensors& mine, const WholeTensors& all,
                                      const Mesh& mesh);

}  // namespace fttrain
