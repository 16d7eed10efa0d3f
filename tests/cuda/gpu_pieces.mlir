// RUN: lamina opt %s -p 'linalg-to-gpu{target=sm_80}' | filecheck %s
// One kernel, two launches: a product whose long sum is cut into pieces, and the sum over the pieces with the epilogue.
builtin.module {
  func.func private @k0(%x: memref<32x4096xf32>, %w: memref<4096x32xf32>, %y: memref<32x32xf32>, %scratch: memref<131072xi8>) attributes {lamina.inputs = 2 : i64, lamina.outputs = 1 : i64} {
    %zero = arith.constant 0.000000e+00 : f32
    %t = memref.alloca() : memref<32x32xf32>
    linalg.fill ins(%zero : f32) outs(%t : memref<32x32xf32>)
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : memref<32x4096xf32>, memref<4096x32xf32>) outs(%t : memref<32x32xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %c, %p : f32
      linalg.yield %s : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%t : memref<32x32xf32>) outs(%y : memref<32x32xf32>) {
    ^bb0(%a: f32, %b: f32):
      %r = arith.maximumf %a, %zero : f32
      linalg.yield %r : f32
    }
    func.return
  }
  func.func @main(%x: memref<32x4096xf32>, %w: memref<4096x32xf32>, %y: memref<32x32xf32>, %arena: memref<131072xi8>) {
    func.call @k0(%x, %w, %y, %arena) {origin = "net.py:3"} : (memref<32x4096xf32>, memref<4096x32xf32>, memref<32x32xf32>, memref<131072xi8>) -> ()
    func.return
  }
}
// CHECK:      func.func private @k0_0(
// CHECK:      memref.alloca() : memref<4xf32, "registers">
// CHECK:      nv.shared {{.*}} "shared">
// CHECK:      "gpu.barrier"
// CHECK:      math.fma
// CHECK:      {nv.unroll}
// CHECK:      memref.view %scratch
// CHECK-NOT:  arith.maximumf
// CHECK:      func.func private @k0_0_sum(
// CHECK:      scf.for
// CHECK:      arith.addf
// CHECK:      arith.maximumf
// CHECK:      func.call @k0_0(
// CHECK-NEXT: func.call @k0_0_sum(
