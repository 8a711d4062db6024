#include "launch/run/generation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "data/text/example.h"
#include "parallel/pipeline/executor.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Tokens of prompts that begin in one forward, unless one has more: what layers work on is bounded.
constexpr int64_t kPromptTokens = 2048;

// A prompt that is being answered.
struct Document {
  size_t prompt;
  std::vector<int32_t> ids;  // with the answer so far
  int64_t cached = 0;        // the first of them, whose keys and values are kept
  std::unique_ptr<DocumentCache> cache;
};

// Rounds of forwards. A round has a microbatch for each stage, so that all are busy, on every
// replica, whether it has anything to answer or not: under ZeRO 3 they gather weights together.
class Generator {
 public:
  Generator(Network& network, const std::vector<std::vector<int32_t>>& prompts,
            const GenerationOptions& options)
      : network_(network),
        prompts_(prompts),
        options_(options),
        lanes_(static_cast<size_t>(network.links->num_stages())),
        forwards_(ForwardSchedule(network, network.links->num_stages())),
        replicas_(network.mesh->shape().size(kDataAxes)),
        answers_(prompts.size()) {
    next_ =
        static_cast<size_t>(IndexIn(network.mesh->shape(), network.mesh->position(), kDataAxes));
  }

  std::vector<Answer> Run() {
    while (AnyBusy()) Round();
    Gather();
    return std::move(answers_);
  }

 private:
  using Lane = std::vector<std::unique_ptr<Document>>;  // documents of a microbatch, in turn

  bool AnyBusy() const {
    bool busy = next_ < prompts_.size();
    for (const Lane& lane : lanes_) busy = busy || !lane.empty();
    // Of a rehearsal others' numbers are not known; each replica's own rounds are what it has.
    if (replicas_ == 1 || IsRehearsal()) return busy;
    const at::Tensor any =
        at::full({1}, int64_t{busy}, at::TensorOptions(at::kLong).device(network_.device));
    network_.mesh->AllReduce(any, kDataAxes, ReduceOp::kMax);
    return any.item<int64_t>() != 0;
  }

  // Prompts that begin in places that are free; none: those of the lane go on.
  std::vector<Document*> Begin(Lane& lane) {
    const auto places =
        static_cast<size_t>(CeilDivide(options_.batch_size, static_cast<int64_t>(lanes_.size())));
    std::vector<Document*> begun;
    size_t tokens = 0;
    while (lane.size() < places && next_ < prompts_.size()) {
      tokens += prompts_[next_].size();
      if (!begun.empty() && tokens > kPromptTokens) break;
      lane.push_back(std::make_unique<Document>(
          Document{next_, prompts_[next_], 0, std::make_unique<DocumentCache>()}));
      if (options_.remembered != nullptr) Recall(*lane.back());
      begun.push_back(lane.back().get());
      next_ += static_cast<size_t>(replicas_);
    }
    return begun;
  }

  // What the prompt begins with as the one before did; a token at least is left to be computed.
  void Recall(Document& document) const {
    Remembered& before = *options_.remembered;
    before.recalled = 0;
    if (before.cache == nullptr) return;
    const auto most = std::min(before.ids.size(), document.ids.size() - 1);
    const auto differ = std::mismatch(
        before.ids.begin(), before.ids.begin() + static_cast<int64_t>(most), document.ids.begin());
    const int64_t common = differ.first - before.ids.begin();
    std::unique_ptr<DocumentCache> cache = std::move(before.cache);
    // Layers of one stage may have windows and those of another none.
    bool recalls = common > 0 && cache->CutTo(common);
    if (lanes_.size() > 1) {
      const at::Tensor any_forgot =
          at::full({1}, int64_t{!recalls}, at::TensorOptions(at::kLong).device(network_.device));
      network_.mesh->AllReduce(any_forgot, {Axis::kPp}, ReduceOp::kMax);
      recalls = any_forgot.item<int64_t>() == 0;
    }
    if (!recalls) return;
    document.cached = before.recalled = common;
    document.cache = std::move(cache);
  }

  void Remember(Document& document) const {
    const auto end = document.ids.begin() + document.cached;
    *options_.remembered = {
        {document.ids.begin(), end}, std::move(document.cache), options_.remembered->recalled};
  }

  ModelBatch BatchOf(const std::vector<Document*>& documents) const {
    const int64_t multiple = network_.layout.sequence_parallel ? network_.layout.mesh.tp : 1;
    if (documents.empty()) {  // a token that nobody asks for
      return MakeModelBatch({0}, {0}, {0, 1}, {0}, /*step_key=*/0, multiple, network_.device);
    }
    std::vector<NextTokens> next;
    for (Document* each : documents) {
      next.push_back(
          {{each->ids.begin() + each->cached, each->ids.end()}, each->cached, each->cache.get()});
      each->cached = static_cast<int64_t>(each->ids.size());
    }
    return MakeNextBatch(next, multiple, network_.device);
  }

  void Round() {
    Transformer& model = *network_.transformer;
    std::vector<std::vector<Document*>> asked;
    std::vector<ModelBatch> batches;
    for (Lane& lane : lanes_) {
      std::vector<Document*> documents = Begin(lane);
      if (documents.empty()) {
        for (const auto& each : lane) documents.push_back(each.get());
      }
      batches.push_back(BatchOf(documents));
      asked.push_back(std::move(documents));
    }
    model.BeginStep(std::move(batches), nullptr);
    RunSchedule(forwards_, model, *network_.links);
    Apply(asked, Chosen(asked));
  }

  // A token for each document, of all lanes in turn. The last stage chooses and tells the others.
  std::vector<int64_t> Chosen(const std::vector<std::vector<Document*>>& asked) const {
    const bool chooses =
        !options_.rehearsed && network_.links->stage() == network_.links->num_stages() - 1;
    std::vector<int64_t> chosen;
    for (size_t i = 0; i < asked.size(); ++i) {
      at::Tensor logits = network_.transformer->TakeLogits(static_cast<int>(i));
      if (chooses) logits = logits.cpu();
      for (size_t d = 0; d < asked[i].size(); ++d) {
        const Document& document = *asked[i][d];
        chosen.push_back(chooses ? ChooseToken(logits[static_cast<int64_t>(d)], document.ids,
                                               options_.sampling,
                                               options_.first_prompt + document.prompt)
                                 : 0);
      }
    }
    if (lanes_.size() == 1 || chosen.empty()) return chosen;
    at::Tensor all = at::tensor(chosen, at::kLong).to(network_.device);
    network_.mesh->AllReduce(all, {Axis::kPp});
    all = all.cpu();
    return {all.data_ptr<int64_t>(), all.data_ptr<int64_t>() + all.numel()};
  }

  void Apply(const std::vector<std::vector<Document*>>& asked, const std::vector<int64_t>& chosen) {
    auto token = chosen.begin();
    for (size_t i = 0; i < asked.size(); ++i) {
      for (Document* document : asked[i]) {
        Answer& answer = answers_[document->prompt];
        const auto id = static_cast<int32_t>(*token++);
        const std::vector<int32_t>& ends = options_.stop_ids;
        answer.ended = std::find(ends.begin(), ends.end(), id) != ends.end();
        if (!answer.ended) {
          answer.ids.push_back(id);
          document->ids.push_back(id);
          if (options_.on_token) options_.on_token(document->prompt, answer.ids);
        }
        const auto length = static_cast<int64_t>(answer.ids.size());
        if (!answer.ended && length < options_.max_new_tokens) continue;
        if (options_.remembered != nullptr) Remember(*document);
        document->cache.reset();
      }
      std::erase_if(lanes_[i], [](const auto& document) { return document->cache == nullptr; });
    }
  }

  // Of all replicas.
  void Gather() {
    if (replicas_ == 1) return;
    int64_t longest = 0;
    for (const Answer& each : answers_) {
      longest = std::max(longest, static_cast<int64_t>(each.ids.size()));
    }
    const int64_t width = 2 + LargestOverMesh({longest}, network_).front();
    const auto options = at::TensorOptions(at::kLong);
    for (size_t begin = 0; begin < answers_.size(); begin += kGathered) {
      const size_t count = std::min(kGathered, answers_.size() - begin);
      const at::Tensor rows = at::zeros({static_cast<int64_t>(count), width}, options);
      auto row = rows.accessor<int64_t, 2>();
      for (size_t i = 0; i < count; ++i) {
        const Answer& answer = answers_[begin + i];
        row[i][0] = answer.ended;
        row[i][1] = static_cast<int64_t>(answer.ids.size());
        std::copy(answer.ids.begin(), answer.ids.end(), &row[i][2]);
      }
      at::Tensor all = rows.to(network_.device);
      network_.mesh->AllReduce(all, kDataAxes);
      rows.copy_(all);
      for (size_t i = 0; i < count; ++i) {
        answers_[begin + i] = {{&row[i][2], &row[i][2] + row[i][1]}, row[i][0] != 0};
      }
    }
  }

  static constexpr size_t kGathered = 1024;  // answers at a time

  Network& network_;
  const std::vector<std::vector<int32_t>>& prompts_;
  const GenerationOptions& options_;
  std::vector<Lane> lanes_;
  PipelineSchedule forwards_;
  int replicas_;
  size_t next_ = 0;  // of this replica's prompts, the first that has not begun
  std::vector<Answer> answers_;
};

}  // namespace

std::vector<Answer> Generate(Network& network, const std::vector<std::vector<int32_t>>& prompts,
                             const GenerationOptions& options) {
  FT_CHECK(options.remembered == nullptr || prompts.size() == 1, prompts.size(), " prompts");
  return Generator(network, prompts, options).Run();
}

}  // namespace fttrain
