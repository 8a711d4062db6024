// What a library asks for in the middle of its work, for whose size only it has the formula.
#pragma once

namespace fttrain {

// While it lives, what this thread allocates is in no book of the ledger: workspaces that ATen's
// products take for oneDNN or cuBLAS, which differ between machines. The results are allocated
// before.
class UncountedScope {
 public:
  UncountedScope() noexcept;
  ~UncountedScope();
  UncountedScope(const UncountedScope&) = delete;
  UncountedScope& operator=(const UncountedScope&) = delete;

 private:
  bool previous_;
};

// Of this thread.
bool IsUncounted() noexcept;

}  // namespace fttrain
