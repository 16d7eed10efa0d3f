// RUN: lamina opt %s -p 'linalg-to-loops{target=avx512_amx}' | filecheck %s
// Rows of 64 depths lie as tiles want them and are loaded from there; columns are copied first, in pairs of depths.
// CHECK: vector.bitcast
// CHECK: amx.tile_config [!amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>]
// CHECK-COUNT-4: amx.tile_zero : !amx.tile<16x16xf32>
// CHECK: scf.for {{.*}} -> (!amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x16xf32>)
// CHECK: amx.tile_load %{{[0-9]+}}[%{{[0-9]+}}], %{{[0-9]+}} : memref<8192xbf16> into !amx.tile<16x32xbf16>
// CHECK-COUNT-4: amx.tile_mulf
// CHECK-NOT: amx.tile_mulf
// CHECK-COUNT-4: amx.tile_store
builtin.module {
  func.func private @k0(%a: memref<128x64xbf16>, %b: memref<64x64xbf16>, %out: memref<128x64xf32>, %scratch: memref<8192xi8>) {
    %zero = arith.constant 0.000000e+00 : f32
    linalg.fill ins(%zero : f32) outs(%out : memref<128x64xf32>)
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%a, %b : memref<128x64xbf16>, memref<64x64xbf16>) outs(%out : memref<128x64xf32>) {
    ^bb1(%0: bf16, %1: bf16, %acc: f32):
      %x = arith.extf %0 : bf16 to f32
      %y = arith.extf %1 : bf16 to f32
      %2 = arith.mulf %x, %y : f32
      %3 = arith.addf %acc, %2 : f32
      linalg.yield %3 : f32
    }
    func.return
  }
  func.func @main(%a: memref<128x64xbf16>, %b: memref<64x64xbf16>, %out: memref<128x64xf32>, %scratch: memref<8192xi8>) {
    func.call @k0(%a, %b, %out, %scratch) : (memref<128x64xbf16>, memref<64x64xbf16>, memref<128x64xf32>, memref<8192xi8>) -> ()
    func.return
  }
}
