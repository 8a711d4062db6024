#include "tests/launch/run/training_rig.h"

#include "parallel/storage/gradient_reader.h"
#include "runtime/math/philox.h"
#include "tests/model/oracle.h"

namespace fttrain {

std::unique_ptr<Mesh> CreateMesh(const MeshShape& shape, const Process& process) {
  auto mesh = Mesh::Create(CommBackend::kMpi, process, shape);
  FT_CHECK(mesh.ok(), mesh.status().ToString());
  return *std::move(mesh);
}

std::string ToString(const MeshShape& shape, const Layout& layout) {
  return testing::PrintToString(std::tuple(shape.tp, shape.pp, shape.dp)) +
         " (tp, pp, dp), schedule " + std::to_string(static_cast<int>(layout.pipeline)) +
         ", chunks " + std::to_string(layout.chunks) + ", zero " +
         std::to_string(layout.zero_stage) + ", frozen " +
         std::to_string(static_cast<int>(layout.frozen)) + ", recompute " +
         std::to_string(static_cast<int>(layout.recompute));
}

std::vector<Example> Documents() {
  std::vector<Example> examples(40);
  for (size_t i = 0; i < examples.size(); ++i) {
    const uint32_t length = 3 + Philox4x32(1, i, 0).x[0] % 18;
    for (uint32_t j = 0; j < length; ++j) {
      const PhiloxBlock draw = Philox4x32(2, i, j);
      examples[i].input_ids.push_back(static_cast<int32_t>(draw.x[0] % 37));
      examples[i].labels.push_back(draw.x[1] % 2 == 0 ? kNoTarget : examples[i].input_ids.back());
    }
    examples[i].labels.back() = examples[i].input_ids.back();
  }
  return examples;
}

namespace {

void Fill(Parameter& p, const Nf4Options& nf4) {
  const int64_t numel = p.slice.GlobalNumel();
  std::vector<double> values(numel);
  const bool norm = p.slice.name.find("norm") != std::string::npos;
  for (int64_t i = 0; i < numel; ++i) {
    const double u = UniformFromBits(Philox4x32(7, i, StreamOfName(p.slice.name)).x[0]) - 0.5;
    values[i] = norm ? 1.0 + 0.2 * u : 0.5 * u;
  }
  at::Tensor whole = at::tensor(values, at::kDouble).view(p.slice.global_shape);
  if (p.packed_bytes > 0) {
    p.value.copy_(QuantizedSlice(whole.to(at::kFloat), p.slice, nf4).bytes);
    return;
  }
  if (p.slice.dim >= 0) whole = whole.narrow(p.slice.dim, p.slice.offset, p.slice.extent);
  p.value.copy_(whole);
}

}  // namespace

void Fill(ParameterStore& store, const Nf4Options& nf4) {
  const absl::Status filled = store.Write([&](const std::vector<Parameter*>& parameters) {
    for (Parameter* p : parameters) Fill(*p, nf4);
    return absl::OkStatus();
  });
  FT_CHECK(filled.ok(), filled.ToString());
}

void Fill(ParameterSet& set) {
  for (const auto& p : set.all()) Fill(*p, {});
}

TrainingRig::TrainingRig(const Mesh& on, const Layout& in, const Task& of)
    : mesh(on),
      layout(in),
      task(of),
      model(ModelOf(of), OptionsOf(in, of, on.shape().pp), on, set, kSequence, at::kCPU) {
  StorageOptions storage;
  storage.zero_stage = layout.zero_stage;
  storage.frozen = layout.frozen;
  storage.disk_folder = testing::TempDir();
  store = std::make_unique<ParameterStore>(set, mesh, at::kCPU, storage);
  model.UseStore(*store);
  AdamWOptions adamw;
  adamw.weight_decay = 0.1;
  adamw.eps = task.eps;
  adamw.state_place = layout.state;
  optimizer = std::make_unique<Optimizer>(*store, adamw);
  Fill(*store);
  optimizer->MastersFromParameters();
  links = StageLinks::None();
  if (mesh.shape().pp > 1) {
    const int64_t boundary = layout.micro_batch_size * kSequence * TinyModel(false).hidden_size;
    auto created = StageLinks::Create(CommBackend::kMpi, TestProcess(), mesh.shape(),
                                      {layout.chunks > 1, boundary * 8});
    FT_CHECK(created.ok(), created.status().ToString());
    links = *std::move(created);
  }
  RowOptions row_options;
  row_options.sequence_len = kSequence;
  row_options.packing = task.packing;
  row_options.seed = 3;
  auto created = RowStream::Create(&examples, row_options);
  FT_CHECK(created.ok(), created.status().ToString());
  rows = std::make_unique<RowStream>(*std::move(created));
}

StepShape TrainingRig::Shape() const {
  const int64_t dp = mesh.shape().dp;
  return {layout.micro_batch_size, task.rows_per_step / (layout.micro_batch_size * dp), dp};
}

std::vector<PipelineStep> TrainingRig::Schedule() const {
  return MakePipelineSchedule(layout.pipeline, links->stage(), links->num_stages(), layout.chunks,
                              static_cast<int>(Shape().accumulation));
}

void RunStep(TrainingRig& rig, int64_t step) {
  std::vector<ModelBatch> batches;
  const StepShape shape = rig.Shape();
  for (const Microbatch& m : rig.rows->TrainMicrobatches(step, shape, rig.mesh.position().dp)) {
    batches.push_back(MakeModelBatch(m.input_ids, m.targets, m.cu_seqlens, m.token_index,
                                     StepKey(11, step), rig.mesh.shape().tp, at::kCPU));
  }
  rig.model.BeginStep(std::move(batches), 1.0 / 200);
  rig.optimizer->ZeroGradients();
  RunSchedule(rig.Schedule(), rig.model, *rig.links);
  rig.optimizer->SyncGradients();
}

WholeTensors WholeGradients(TrainingRig& rig) {
  WholeTensors gradients;
  GradientReader reader(*rig.store);
  for (const Parameter* p : rig.set.Trainable()) {
    gradients[p->slice.name] = GatherWhole(p->slice, reader.Read(*p), rig.mesh.tp()).clone();
  }
  return gradients;
}

WholeTensors GradientsOfAStep(TrainingRig& rig) {
  RunStep(rig, 0);
  return WholeGradients(rig);
}

WholeTensors WholeParameters(TrainingRig& rig) {
  WholeTensors parameters;
  for (const Parameter* p : rig.set.Trainable()) {
    const ParameterStore::Lease lease = rig.store->Acquire(p->group);
    parameters[p->slice.name] = GatherWhole(p->slice, p->value, rig.mesh.tp()).clone();
  }
  return parameters;
}

Trainer MakeTrainer(TrainingRig& rig) {
  TrainerOptions options;
  options.steps = kSteps;
  options.shape = rig.Shape();
  options.pipeline = rig.layout.pipeline;
  options.schedule = {LrSchedule::Kind::kCosine, 1e-2, 1, kSteps, 0.0};
  options.max_grad_norm = 0.5;
  options.seed = 11;
  return Trainer(options, rig.mesh, *rig.links, at::kCPU, *rig.rows, rig.model, *rig.optimizer);
}

Outcome Train(const Mesh& mesh, const Layout& layout, const Task& task) {
  TrainingRig rig(mesh, layout, task);
  Trainer trainer = MakeTrainer(rig);
  Outcome outcome;
  for (int64_t step = 0; step < kSteps; ++step) {
    auto metrics = trainer.Step(step);
    FT_CHECK(metrics.ok(), metrics.status().ToString());
    outcome.metrics.push_back(*metrics);
  }
  outcome.parameters = WholeParameters(rig);
  return outcome;
}

std::set<std::string> NamesOverStages(const WholeTensors& mine, const WholeTensors& all,
                                      const Mesh& mesh) {
  std::vector<int64_t> flags;
  for (const auto& [name, value] : all) flags.push_back(static_cast<int64_t>(mine.count(name)));
  at::Tensor held = at::tensor(flags, at::kLong);
  mesh.pp().AllReduce(held);
  std::set<std::string> names;
  int64_t i = 0;
  for (const auto& [name, value] : all) {
    if (held[i++].item<int64_t>() > 0) names.insert(name);
  }
  return names;
}

void ExpectEqual(const Outcome& got, const Outcome& want, const Mesh& mesh) {
  for (int64_t step = 0; step < kSteps; ++step) {
    EXPECT_NEAR(got.metrics[step].loss, want.metrics[step].loss, 1e-10) << "step " << step;
    EXPECT_NEAR(got.metrics[step].grad_norm, want.metrics[step].grad_norm, 1e-9) << "step " << step;
    EXPECT_EQ(got.metrics[step].tokens, want.metrics[step].tokens);
    EXPECT_EQ(got.metrics[step].target_tokens, want.metrics[step].target_tokens);
  }
  EXPECT_EQ(NamesOverStages(got.parameters, want.parameters, mesh).size(), want.parameters.size());
  for (const auto& [name, value] : got.parameters) {
    const double difference = (value - want.parameters.at(name)).abs().max().item<double>();
    EXPECT_LT(difference, 1e-8) << name;
  }
}

}  // namespace fttrain
