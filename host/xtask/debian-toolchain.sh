#!/usr/bin/env bash
# Bare-metal targets where rustup cannot download: builds core, alloc and compiler_builtins once from Debian's
# rust-web-src with Debian's rustc, lays them out as a sysroot and registers it as the rustup toolchain `neji-debian`.
# Afterwards `RUSTUP_TOOLCHAIN=neji-debian cargo build --target thumbv7em-none-eabihf` is an ordinary build.
#
#   debian-toolchain.sh TARGET...     idempotent; NEJI_DEBIAN_DIR chooses another place
set -euo pipefail

name=neji-debian
dir=${NEJI_DEBIAN_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/$name}
say() { printf 'setup: %s\n' "$*" >&2; }

packages=()
for package in rustc-web rust-web-src rust-web-clippy; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || packages+=("$package")
done
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    say "missing packages; type: sudo apt-get install --no-install-recommends ${packages[*]}"
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
fi

version=$(/usr/bin/rustc -V)
release=$(/usr/bin/rustc -vV | sed -n 's/^release: //p')
host=$(/usr/bin/rustc -vV | sed -n 's/^host: //p')
rustup=$(env -u RUSTUP_TOOLCHAIN rustup run stable rustc --print sysroot) # its cargo, rustfmt and rust-lld are used
stamp="$version|$rustup|layout-1"

complete=yes
[ "$(cat "$dir/.stamp" 2>/dev/null || true)" = "$stamp" ] || { complete=no; rm -rf "$dir"; }
for target in "$@"; do
  compgen -G "$dir/lib/rustlib/$target/lib/libcore-*.rlib" >/dev/null || complete=no
done

if [ $complete = no ]; then
  mkdir -p "$dir/bin" "$dir/lib/rustlib/$host" "$dir/lib/rustlib/src"
  ln -sfn "/usr/lib/rustlib/$host/lib" "$dir/lib/rustlib/$host/lib"
  ln -sfn "$rustup/lib/rustlib/$host/bin" "$dir/lib/rustlib/$host/bin"
  ln -sfn /usr/lib/rustlib/src/rust "$dir/lib/rustlib/src/rust"
  # rustc finds its sysroot from its own library's real path, which is /usr: so it must be told.
  for tool in rustc rustdoc; do
    printf '#!/bin/sh\ncase " $* " in *" --sysroot"*) exec /usr/bin/%s "$@";; esac\nexec /usr/bin/%s --sysroot "%s" "$@"\n' \
      "$tool" "$tool" "$dir" > "$dir/bin/$tool"
    chmod +x "$dir/bin/$tool"
  done
  for tool in clippy-driver cargo-clippy; do
    printf '#!/bin/sh\nSYSROOT="%s" exec /usr/bin/%s "$@"\n' "$dir" "$tool" > "$dir/bin/$tool"
    chmod +x "$dir/bin/$tool"
  done
  for tool in cargo rustfmt cargo-fmt; do ln -sfn "$rustup/bin/$tool" "$dir/bin/$tool"; done

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/src"
  printf '[package]\nname = "sysroot"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[profile.release]\nopt-level = 3\ncodegen-units = 1\n' \
    > "$work/Cargo.toml"
  printf '#![no_std]\n' > "$work/src/lib.rs"
  for target in "$@"; do
    lib=$dir/lib/rustlib/$target/lib
    compgen -G "$lib/libcore-*.rlib" >/dev/null && continue
    say "building core and alloc for $target"
    # Bitcode is embedded so that firmware can be linked with fat LTO.
    (cd "$work" && env -u RUSTUP_TOOLCHAIN -u CARGO_ENCODED_RUSTFLAGS \
      RUSTC="$dir/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
      RUSTFLAGS="-Cembed-bitcode=yes -Zforce-unstable-if-unmarked --remap-path-prefix=/usr/src/rustc-$release=/rustc/$release" \
      "$rustup/bin/cargo" build -q --release -Zbuild-std=core,alloc --target "$target")
    mkdir -p "$lib.new"
    cp "$work/target/$target"/release/deps/lib{core,alloc,compiler_builtins}-*.rlib "$lib.new/"
    rm -rf "$lib"
    mv "$lib.new" "$lib"
  done
  printf '%s' "$stamp" > "$dir/.stamp"
fi

if [ "$(rustup run $name rustc --print sysroot 2>/dev/null || true)" != "$dir" ]; then
  rustup toolchain uninstall $name >/dev/null 2>&1 || true
  rustup toolchain link $name "$dir"
fi
