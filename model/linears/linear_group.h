// Linears that read the same input (q, k, v; gate and up), run together: the input is read once for
// all adapters' first factors, stacked to one [R, in], and once for their gradients; the input's
// gradient is one sum. With dropout each adapter sees its own mask of the input, and products of
// its own. R is the sum of the adapters' ranks, in the order of the members.
#pragma once

#include <vector>

#include "model/linears/local_linear.h"

namespace fttrain {

class LinearGroup {
 public:
  // Of the same input, compute dtype and split; must outlive this. Members may lack adapters.
  explicit LinearGroup(std::vector<const LocalLinear*> members);

  // x [T, in] -> what each member's x W^T + b + s dropout(x) A^T B^T is, [T, out_i]. Only the
  // results are booked under the caller's category.
  std::vector<at::Tensor> Forward(const at::Tensor& x, const DropoutContext& dropout) const;
  // dy: of each member, [T, out_i]. The members' dx summed and added to `dx` if it is defined, else
  // stored there. Returns s_i dy_i B_i side by side, [T, R] (undefined without adapters; float32
  // where products are formed so), for BackwardParams.
  at::Tensor BackwardInput(const std::vector<at::Tensor>& dy, const DropoutContext& dropout,
                           at::Tensor& dx) const;
  // The same without an input gradient, where nothing below needs one.
  at::Tensor BackwardLow(const std::vector<at::Tensor>& dy) const;
  // Adds to the gradients of whatever is trainable. x as given to Forward.
  void BackwardParams(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                      const at::Tensor& x, const DropoutContext& dropout) const;
  bool HasTrainable() const;

 private:
  struct Adapter {
    const LocalLinear* linear;
    size_t member;
    Range columns;  // of [T, R]
    at::Tensor Part(const at::Tensor& low) const {
      return low.narrow(1, columns.offset, columns.extent);
    }
  };
  bool Drops(const DropoutContext& dropout) const;
  at::Tensor StackedA() const;  // [R, in]
  // s_i dy_i B_i into the columns of dlow.
  std::vector<ProductSum> LowGradients(const std::vector<at::Tensor>& dy,
                                       const at::Tensor& dlow) const;
  void AdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                        const at::Tensor& x) const;
  void DroppedAdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                               const at::Tensor& x, const DropoutContext& dropout) const;

  std::vector<const LocalLinear*> members_;
  std::vector<Adapter> adapters_;
  int64_t rank_ = 0;  // R
};

}  // namespace fttrain
