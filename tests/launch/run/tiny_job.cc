#include "tests/launch/run/tiny_job.h"

#include <limits>
#include <set>

#include "parallel/storage/gradient_reader.h"
#include "parallel/storage/param_gather.h"
#include "runtime/math/philox.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "tests/model/nf4_matrices.h"
#include "tests/model/oracle.h"
#include "tests/model/tiny_llama.h"
#include "tests/test_device.h"

namespace fttrain {

LlamaShape TinyShape(bool tied, int layers) {
  LlamaShape shape = TinyLlama(layers);
  shape.num_heads = 8;
  shape.head_dim = 4;
  shape.tie_word_embeddings = tied;
  // With 1e-5 some depths amplify float32's rounding to 1e-4 of the gradients.
  shape.rms_norm_eps = 1e-6;
  if (layers > 1) shape.layer_windows = {0, 6};
  return shape;
}

Task TinyTask(const TinyOptions& options) {
  Task task;
  LlamaShape shape = TinyShape(options.tied, options.layers);
  if (options.experts) {
    shape.moe = {.experts = 4,
                 .top_k = 2,
                 .intermediate_size = 12,
                 .renormalize = true,
                 .in_layer = {false}};
  }
  task.model = LlamaLike(shape);
  task.form.compute = at::kDouble;
  task.form.train_base = options.full;
  if (!options.full) {
    task.form.adapter = {
        .r = 3, .alpha = 6, .dropout = 0.2, .target_modules = {{ModuleNames::kAllLinear}}};
  }
  if (!options.full && options.experts) {
    task.form.adapter->dropout = 0;
    task.form.adapter->target_modules = {{"q_proj", "k_proj", "v_proj", "o_proj"}};
  }
  if (options.nf4) task.form.nf4 = Nf4Options{};
  task.form.nf4_dense = {"lm_head"};
  task.adamw.weight_decay = 0.1;
  task.learning_rate = {LrSchedule::Kind::kCosine, 1e-2, 1, kSteps, 0.0};
  task.max_grad_norm = 0.5;
  task.rows = {kSequence, options.packing, /*shuffle=*/true, /*seed=*/3};
  task.rows_per_step = 16;
  task.seed = 11;
  task.steps = kSteps;
  return task;
}

std::vector<Example> Documents() {
  std::vector<Example> examples(40);
  for (size_t i = 0; i < examples.size(); ++i) {
    const uint32_t length = i == 0 ? kSequence : 3 + Philox4x32(1, i, 0).x[0] % 18;
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

void Fill(Parameter& p, const std::optional<Nf4Options>& nf4) {
  const int64_t numel = p.slice.GlobalNumel();
  std::vector<double> values(numel);
  const bool norm = p.slice.name.find("norm") != std::string::npos;
  for (int64_t i = 0; i < numel; ++i) {
    const double u = UniformFromBits(Philox4x32(7, i, StreamOfName(p.slice.name)).x[0]) - 0.5;
    values[i] = norm ? 1.0 + 0.2 * u : 0.5 * u;
  }
  const at::Tensor whole = at::tensor(values, at::kDouble).view(p.slice.global_shape);
  if (p.packed_bytes > 0) {
    p.value.copy_(QuantizedNf4(whole, p.slice, *nf4).bytes);
    return;
  }
  p.value.copy_(p.slice.PartOf(whole));
}

}  // namespace

WeightSource ValuesByName() {
  return [](Network& network, const Process&) {
    return network.store->Write([&](const std::vector<Parameter*>& parameters) {
      for (Parameter* p : parameters) Fill(*p, network.task.form.nf4);
      return absl::OkStatus();
    });
  };
}

JobInputs TinyInputs(const Task& task) {
  auto rows = RowStream::Create(Documents(), task.rows);
  FT_CHECK(rows.ok(), rows.status().ToString());
  if (task.epochs > 0) {
    const int64_t steps = rows->EndAfterEpochs(task.epochs, task.rows_per_step);
    FT_CHECK(steps == task.steps, task.epochs, " epochs are ", steps, " steps");
  }
  const DeviceKind kind = TestDevice().is_cuda() ? DeviceKind::kCuda : DeviceKind::kCpu;
  const auto device = SelectDevice(kind, TestProcess());
  FT_CHECK(device.ok(), device.status().ToString());
  return {.weights = ValuesByName(),
          .rows = std::make_shared<RowStream>(*std::move(rows)),
          .held_out = nullptr,
          .scratch_folder = testing::TempDir(),
          .device = *device};
}

std::unique_ptr<Job> BuildTiny(const Task& task, Layout layout, const JobInputs& inputs,
                               const Process& process) {
  const absl::Status fits = CheckLayout(task, layout);
  FT_CHECK(fits.ok(), fits.ToString());
  auto job = Build(task, layout, inputs, process);
  FT_CHECK(job.ok(), job.status().ToString());
  return *std::move(job);
}

std::unique_ptr<Job> BuildTiny(const Task& task, Layout layout, const Process& process) {
  return BuildTiny(task, std::move(layout), TinyInputs(task), process);
}

std::string ToString(const Layout& layout) {
  const MeshShape& mesh = layout.mesh;
  return testing::PrintToString(std::tuple(mesh.tp, mesh.pp, mesh.dp, mesh.ep)) +
         " (tp, pp, dp, ep), schedule " + std::to_string(static_cast<int>(layout.schedule)) +
         ", zero " + std::to_string(layout.zero_stage) + ", frozen " +
         std::to_string(static_cast<int>(layout.frozen)) + ", recompute " +
         std::to_string(static_cast<int>(layout.recompute));
}

namespace {

// A copy.
at::Tensor ToHost(const at::Tensor& tensor) {
  return tensor.to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

// Whole gradients and parameters of a job's steps.
class Keeper : public StepObserver {
 public:
  Keeper(Job& job, Trained& trained) : job_(job), trained_(trained) {
    job.observers.push_back(this);
  }
  ~Keeper() override { std::erase(job_.observers, this); }

  void OnGradients(int64_t, double) override {
    GradientReader reader(*job_.network->store);
    WholeTensors& gradients = trained_.gradients.emplace_back();
    for (const Parameter* p : job_.network->parameters.Trainable()) {
      gradients[p->slice.name] = ToHost(GatherWhole(p->slice, reader.Read(*p), mesh().tp()));
    }
  }
  void OnUpdated(const StepMetrics& metrics) override { trained_.metrics.push_back(metrics); }

  void KeepParameters() {
    for (const Parameter* p : job_.network->parameters.Trainable()) {
      const auto lease = job_.network->store->Acquire(p->group);
      trained_.parameters[p->slice.name] = ToHost(GatherWhole(p->slice, p->value, mesh().tp()));
    }
  }

 private:
  const Mesh& mesh() const { return *job_.network->mesh; }
  Job& job_;
  Trained& trained_;
};

// The number of names of `mine` that some stage has, or some part of the experts.
size_t NamesOverMesh(const WholeTensors& mine, const WholeTensors& all, const Mesh& mesh) {
  std::vector<int64_t> flags;
  for (const auto& [name, value] : all) flags.push_back(static_cast<int64_t>(mine.count(name)));
  at::Tensor held = at::tensor(flags, at::kLong).to(TestDevice());
  mesh.AllReduce(held, {Axis::kPp, Axis::kEp});
  return held.count_nonzero().item<int64_t>();
}

double RelativeDifference(double got, double want) { return std::abs(got - want) / std::abs(want); }

// Whether it is of an expert, which may be without a token in a step.
bool MayBeZero(const std::string& name) { return name.find(".experts.") != std::string::npos; }

// Infinite where a tensor is all zeros and where names or shapes differ.
void ExpectTensorsNear(const WholeTensors& got, const WholeTensors& want, double tolerance,
                       const std::string& what) {
  double most = 0;
  std::string where;
  for (const auto& [name, tensor] : got) {
    const auto found = want.find(name);
    double difference = std::numeric_limits<double>::infinity();
    if (found != want.end() && found->second.sizes() == tensor.sizes()) {
      const double size = found->second.abs().max().item<double>();
      difference = (tensor - found->second).abs().max().item<double>();
      if (difference > 0 || size > 0 || !MayBeZero(name)) difference /= size;
    }
    if (difference <= most) continue;  // a NaN is not
    most = difference;
    where = name;
    if (std::isnan(most)) break;
  }
  EXPECT_LE(most, tolerance) << what << " of " << where;
}

}  // namespace

std::shared_ptr<RowStream> HeldOut(const Task& task) {
  RowOptions options = task.rows;
  options.shuffle = false;
  auto rows = RowStream::Create(Documents(), options);
  FT_CHECK(rows.ok(), rows.status().ToString());
  rows->EndAfterEpochs(1, task.rows_per_step);
  return std::make_shared<RowStream>(*std::move(rows));
}

Trained Train(Job& job, int64_t steps) {
  Trained trained;
  Keeper keeper(job, trained);
  Trainer trainer(job);
  for (int64_t step = 0; step < steps; ++step) {
    const auto metrics = trainer.Step(step);
    FT_CHECK(metrics.ok(), metrics.status().ToString());
  }
  keeper.KeepParameters();
  const HeldOutLoss held_out = EvaluateHeldOut(*job.network, *HeldOut(job.task()));
  EXPECT_EQ(held_out.target_tokens, job.rows->summary().targets);
  trained.held_out_loss = held_out.loss;
  return trained;
}

void ExpectNear(const Trained& got, const Trained& want, const Mesh& mesh, const Near& near) {
  ASSERT_EQ(got.metrics.size(), want.metrics.size());
  for (size_t i = 0; i < got.metrics.size(); ++i) {
    const StepMetrics &mine = got.metrics[i], &wanted = want.metrics[i];
    const std::string step = "step " + std::to_string(wanted.step);
    EXPECT_EQ(mine.tokens, wanted.tokens) << step;
    EXPECT_EQ(mine.target_tokens, wanted.target_tokens) << step;
    EXPECT_LE(RelativeDifference(mine.loss, wanted.loss), 1e-3) << step;
    if (wanted.step > near.steps) continue;
    EXPECT_LE(RelativeDifference(mine.loss, wanted.loss), near.numbers) << step;
    EXPECT_EQ(mine.router_loss.has_value(), wanted.router_loss.has_value());
    if (wanted.router_loss) {
      EXPECT_LE(RelativeDifference(*mine.router_loss, *wanted.router_loss), near.numbers) << step;
    }
    EXPECT_LE(RelativeDifference(mine.grad_norm, wanted.grad_norm), near.numbers) << step;
    ExpectTensorsNear(got.gradients[i], want.gradients[i], near.gradients, step + ", gradient");
  }
  const bool exact = near.steps >= static_cast<int64_t>(want.metrics.size());
  EXPECT_LE(RelativeDifference(got.held_out_loss, want.held_out_loss), exact ? near.numbers : 1e-3);
  EXPECT_EQ(NamesOverMesh(got.gradients[0], want.gradients[0], mesh), want.gradients[0].size());
  EXPECT_EQ(got.parameters.size(), got.gradients[0].size());
  if (near.parameters) ExpectTensorsNear(got.parameters, want.parameters, near.gradients, "value");
}

void SeeGradients(Job& job, const std::function<void()>& see) {
  struct Caller : StepObserver {
    void OnGradients(int64_t, double) override { (*call)(); }
    void OnUpdated(const StepMetrics&) override {}
    const std::function<void()>* call = nullptr;
  } caller;
  caller.call = &see;
  job.observers.push_back(&caller);
  const auto metrics = Trainer(job).Step(0);
  FT_CHECK(metrics.ok(), metrics.status().ToString());
  job.observers.pop_back();
}

}  // namespace fttrain
