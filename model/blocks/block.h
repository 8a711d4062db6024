// A block of a decoder layer, x -> delta: attention, MLP. The layer owns what is around it: the
// residual stream and the norms. Forward and Backward are a pair; what is kept between them is one
// named struct a kind of block.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/blocks/context.h"
#include "model/blocks/options.h"
#include "parallel/layout/tensor_parallel.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

// A tensor that Backward reads, where its owner holds it.
struct SavedTensor {
  const char* name;
  at::Tensor* tensor;
  std::vector<int64_t> sizes;
  at::ScalarType dtype;
};

// What passes between a block's Forward and Backward.
struct BlockSaved {
  virtual ~BlockSaved() = default;
  // What the block makes for its own Backward, of a microbatch of `tokens`: this list is what is
  // kept with Recompute::kNone, what goes to the host, and what is counted (KeptBytes).
  virtual std::vector<SavedTensor> Inner(int64_t tokens) = 0;
  bool HasInner() { return Inner(0).front().tensor->defined(); }
  void FreeInner() {
    for (const SavedTensor& each : Inner(0)) each.tensor->reset();
  }

  // [T/tp, H], the residual stream before the block's norm; of one beside another that one's.
  at::Tensor input;
  at::Tensor output;  // [T/tp, H], what the block made, where a norm is behind it
  // [T, H], what the block's first linears read. Never kept: under sequence parallelism a recompute
  // leaves it for the gradients of parameters, without a second gather.
  at::Tensor normed;
};

// What a block of this kind saves on a rank, nothing made yet.
std::unique_ptr<BlockSaved> NewSaved(const BlockSpec& spec, TensorRank tp, at::ScalarType compute);

// What blocks are built from; tp, set, ahead and ep must outlive them.
struct BlockSetup {
  const ModelOptions& options;
  Communicator& tp;
  const ParameterSet& set;     // with what DeclareLayer declared
  Nf4Ahead* ahead;             // may be null
  Communicator* ep = nullptr;  // the ranks that divide the experts; null: this one has all

  Linears Make(const std::vector<LinearSpec>& specs) const;
  Parameter* Norm(const NormSpec& spec) const;
};

// All functions: `saved` is of the block's own kind; collective over tp where they reduce, and
// along ep where ranks divide the experts: of a step as many forwards and backwards on each.
class Block {
 public:
  explicit Block(const BlockSetup& setup) : region_(setup.tp, setup.options.sequence_parallel) {}
  virtual ~Block() = default;

  // The forward pass in two halves. The first: x [T, H], whole rows, -> what `saved` calls inner,
  // booked under `category`. A recompute runs it alone.
  virtual void ForwardInner(const at::Tensor& x, const BlockContext& context,
                            MemoryCategory category, BlockSaved& saved) const = 0;
  // The second: inner -> delta [T/tp, H], reduced, booked under `category`. `last_use`: inner is
  // freed as soon as it was read.
  virtual at::Tensor ForwardOutput(const BlockContext& context, MemoryCategory category,
                                   BlockSaved& saved, bool last_use) const = 0;
  // dy [T/tp, H] -> dx [T/tp, H] (undefined unless needed); adds to gradients; frees inner. `x`
  // gives the block's input again, called once at most.
  using MakeInput = std::function<at::Tensor()>;
  virtual at::Tensor Backward(const at::Tensor& dy, const BlockContext& context, const MakeInput& x,
                              BlockSaved& saved, bool need_dx) const = 0;
  // Whether Backward asks for x.
  virtual bool NeedsInput() const = 0;
  // Its matrices, in the order in which Forward uses them.
  virtual std::vector<Linears*> InOrder() = 0;

 protected:
  // Row-split linears and the reduce that ends the block.
  at::Tensor ForwardAndLeave(const Linears& linears, const at::Tensor& x,
                             const BlockContext& context, MemoryCategory category) const;
  // The linears that begin the block, from their outputs' gradients.
  at::Tensor BackwardFirst(const Linears& linears, std::vector<at::Tensor> dy,
                           const BlockContext& context, const MakeInput& x, bool need_dx) const;

  SequenceRegion region_;
};

std::unique_ptr<Block> MakeBlock(const BlockSpec& spec, const BlockSetup& setup);

}  // namespace fttrain
