#!/usr/bin/env bash
# Makes a bare Debian 12 machine ready to build and run fttrain: system packages, and a private Python
# environment .venv that holds the pinned LibTorch wheel. Nothing else outside this folder is touched.
# Run it again at any time: what is there already is not installed again. What apt and pip say goes to build/setup.log.
#   launch/setup.sh               what the build and the quick start need
#   launch/setup.sh --with-tests  also the Python packages that tests and benchmarks compare with
#   FTTRAIN_TORCH_ROOT=FOLDER     a LibTorch you already have (holds include/ and lib/): no torch is installed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SYSTEM_PACKAGES=(build-essential cmake ninja-build ccache git pkg-config python3 python3-venv
  openmpi-bin libopenmpi-dev libabsl-dev protobuf-compiler libprotobuf-dev nlohmann-json3-dev
  libyaml-cpp-dev libpcre2-dev libicu-dev libssl-dev zlib1g-dev libgtest-dev libgmock-dev)

LOG=build/setup.log

fail() {
  echo "setup: $*" >&2
  exit 1
}

# phase TEXT COMMAND ...: one line, and the command with its output in the log, whose end is shown if it fails.
phase() {
  local what=$1
  shift
  echo "setup: $what ..."
  "$@" >>$LOG 2>&1 && return
  echo "setup: failed: $what. The end of $PWD/$LOG:" >&2
  tail -n 15 $LOG >&2
  exit 1
}

with_tests=no
for argument in "$@"; do
  case $argument in
    --with-tests) with_tests=yes ;;
    -h | --help)
      sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) fail "unknown argument '$argument'; --help lists what there is" ;;
  esac
done

install_system_packages() {
  command -v dpkg-query >/dev/null || fail "needs Debian or Ubuntu (no dpkg-query here)"
  local installed missing=() package as_root=()
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${SYSTEM_PACKAGES[@]}" 2>/dev/null || true)
  for package in "${SYSTEM_PACKAGES[@]}"; do
    grep -qx "$package installed" <<<"$installed" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "root has to install: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  phase "list of system packages" "${as_root[@]}" apt-get update
  phase "system packages (${#missing[@]} missing)" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# The lines of requirements files without comments, and without torch where the user brings one.
requirements() {
  local lines
  lines=$(sed 's/#.*//; /^[[:space:]]*$/d' "$@")
  [ -z "${FTTRAIN_TORCH_ROOT:-}" ] || lines=$(grep -v '^torch==' <<<"$lines")
  echo "$lines"
}

# A LibTorch that is a Python package also serves the Python side of the tests.
link_own_torch() {
  [ -f "$FTTRAIN_TORCH_ROOT/include/ATen/ATen.h" ] ||
    fail "FTTRAIN_TORCH_ROOT='$FTTRAIN_TORCH_ROOT' holds no include/ATen/ATen.h"
  local site
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  if [ -f "$FTTRAIN_TORCH_ROOT/__init__.py" ]; then
    (cd "$FTTRAIN_TORCH_ROOT/.." && pwd) >"$site/own_torch.pth"
  elif [ "$with_tests" = yes ]; then
    fail "--with-tests needs a torch that Python can import; '$FTTRAIN_TORCH_ROOT' is not a Python package"
  fi
}

install_python_packages() {
  local files=(launch/requirements.txt) wanted size="" stamp=.venv/installed.txt
  # Once the test packages are there, a plain run does not forget them.
  if [ "$with_tests" = yes ] || grep -qs '^transformers==' $stamp; then files+=(launch/requirements-tests.txt); fi
  wanted="$(requirements "${files[@]}")
own torch: ${FTTRAIN_TORCH_ROOT:-none}"
  [ -f $stamp ] && [ "$(cat $stamp)" = "$wanted" ] && return
  [ -x .venv/bin/python ] || phase "private Python environment .venv" python3 -m venv .venv
  if [ -n "${FTTRAIN_TORCH_ROOT:-}" ]; then link_own_torch; else size=" (5 GB with torch, a minute or two)"; fi
  requirements "${files[@]}" >.venv/wanted.txt
  phase "Python packages into .venv$size" \
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -r .venv/wanted.txt
  echo "$wanted" >$stamp
}

mkdir -p build
: >$LOG
install_system_packages
install_python_packages
echo "setup: ready in $SECONDS s"
