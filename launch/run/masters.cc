#include "launch/run/masters.h"

#include <ATen/ATen.h>

#include "launch/exit_code.h"
#include "model/files/slice_reader.h"
#include "model/files/tensor_io.h"
#include "model/matmul/tensor_rows.h"
#include "runtime/files/safetensors.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::Status LoadMasters(Optimizer& optimizer, const Task& task) {
  if (!task.form.train_base || task.form.compute != at::kBFloat16) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const auto files, FromFile(SafetensorsFolder::Open(task.model_path)));
  return optimizer.VisitState([&](const StatePiece& piece) -> absl::Status {
    if (piece.kind != StateKind::kMaster) return absl::OkStatus();
    const ParamSlice slice = SliceInFile(piece.slice);
    const at::ScalarType dtype = *FloatTypeOf(files->Find(slice.name)->dtype);
    if (dtype == at::kBFloat16) return absl::OkStatus();
    const SliceRuns runs = RunsOf(slice.global_shape, slice.dim, slice.offset, slice.extent);
    const auto take = [&](int64_t first, const at::Tensor& host) {
      const FlatRange mine = Intersect({first, first + host.numel()}, piece.of_slice);
      if (mine.size() == 0) return absl::OkStatus();
      piece.values.narrow(0, mine.begin - piece.of_slice.begin, mine.size())
          .copy_(host.narrow(0, mine.begin - first, mine.size()), /*non_blocking=*/true);
      return absl::OkStatus();
    };
    return ReadByPieces(*files, slice.name, runs, dtype, piece.values.device(), take);
  });
}

}  // namespace fttrain
