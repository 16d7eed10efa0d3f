// RUN: lamina opt %s | filecheck %s
// The ops of tile registers, as in MLIR, and what says which shapes the registers have.
// CHECK: amx.tile_config [!amx.tile<16x16xf32>, !amx.tile<16x32xbf16>]
// CHECK-NEXT: %c = amx.tile_zero : !amx.tile<16x16xf32>
// CHECK-NEXT: %a = amx.tile_load %x[%i], %s : memref<4096xbf16> into !amx.tile<16x32xbf16>
// CHECK-NEXT: %d = amx.tile_mulf %a, %a, %c : !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x16xf32>
// CHECK-NEXT: amx.tile_store %y[%i], %d, %s : memref<256xf32>, !amx.tile<16x16xf32>
// CHECK: %g = amx.tile_muli %f zext, %f, %e : !amx.tile<16x64xi8>, !amx.tile<16x64xi8>, !amx.tile<16x16xi32>
// CHECK: %b = kernel.bits %x : memref<4096xbf16> to memref<4096xi16>
builtin.module {
  func.func @k(%x: memref<4096xbf16>, %q: memref<4096xi8>, %y: memref<256xf32>, %z: memref<256xi32>, %i: index, %s: index) {
    amx.tile_config [!amx.tile<16x16xf32>, !amx.tile<16x32xbf16>]
    %c = amx.tile_zero : !amx.tile<16x16xf32>
    %a = amx.tile_load %x[%i], %s : memref<4096xbf16> into !amx.tile<16x32xbf16>
    %d = amx.tile_mulf %a, %a, %c : !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x16xf32>
    amx.tile_store %y[%i], %d, %s : memref<256xf32>, !amx.tile<16x16xf32>
    %e = amx.tile_zero : !amx.tile<16x16xi32>
    %f = amx.tile_load %q[%i], %s : memref<4096xi8> into !amx.tile<16x64xi8>
    %g = amx.tile_muli %f zext, %f, %e : !amx.tile<16x64xi8>, !amx.tile<16x64xi8>, !amx.tile<16x16xi32>
    amx.tile_store %z[%i], %g, %s : memref<256xi32>, !amx.tile<16x16xi32>
    %b = kernel.bits %x : memref<4096xbf16> to memref<4096xi16>
    func.return
  }
}
