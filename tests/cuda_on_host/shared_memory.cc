#include <elf.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/cuda_on_host/grid.h"

namespace fttrain::cuda_on_host {
namespace {

struct Variable {
  char* begin;
  size_t bytes;
};

// The thread-local variables of the program begin here.
char* ThreadLocalBegin() {
  char* begin = nullptr;
  const auto first = [](dl_phdr_info* program, size_t, void* result) {
    *static_cast<char**>(result) = static_cast<char*>(program->dlpi_tls_data);
    return 1;  // libraries follow the program
  };
  dl_iterate_phdr(first, &begin);
  return begin;
}

// Shared variables are static thread_local (include/cuda_runtime.h) ones of .cu files, and found by
// the program's table of symbols: no attribute puts variables of templates into a section of theirs
// with every compiler.
std::vector<Variable> FindSharedVariables() {
  std::ifstream in("/proc/self/exe", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
  std::vector<Variable> found;
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
    const char* names = file.data() + sections[sections[i].sh_link].sh_offset;
    bool in_cu = false;
    for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); ++s) {
      const std::string_view name = names + symbols[s].st_name;
      const int type = ELF64_ST_TYPE(symbols[s].st_info);
      if (type == STT_FILE) in_cu = name.size() > 3 && name.substr(name.size() - 3) == ".cu";
      if (type != STT_TLS || !in_cu || ELF64_ST_BIND(symbols[s].st_info) != STB_LOCAL) continue;
      found.push_back({ThreadLocalBegin() + symbols[s].st_value, symbols[s].st_size});
    }
  }
  if (found.empty()) throw std::runtime_error("no shared variables: is the program stripped?");
  return found;
}

}  // namespace

void FillSharedMemory() {
  static const std::vector<Variable> variables = FindSharedVariables();
  for (const Variable& v : variables) std::memset(v.begin, 0xff, v.bytes);
}

}  // namespace fttrain::cuda_on_host
