// RUN: lamina opt %s -p 'linalg-to-loops{target=avx512}' | filecheck %s

// A plan edited by hand: tiles of two rows and one vector, the sum in two chunks that are added in order.
// CHECK: func.func private @k0
// CHECK: scf.parallel
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) -> (vector<16xf32>, vector<16xf32>)
// CHECK: scf.parallel
// CHECK: arith.addf {{.*}} : vector<16xf32>
builtin.module {
  func.func private @k0(%a: memref<64x96xf32>, %b: memref<96x64xf32>, %out: memref<64x64xf32>, %scratch: memref<32768xi8>) attributes {lamina.inputs = 2 : i64, lamina.outputs = 1 : i64, lamina.plan = "rows=2 vectors=1 pack=none chunks=2"} {
    %zero = arith.constant 0.0 : f32
    linalg.fill ins(%zero : f32) outs(%out : memref<64x64xf32>)
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%a, %b : memref<64x96xf32>, memref<96x64xf32>) outs(%out : memref<64x64xf32>) {
    ^bb0(%0: f32, %1: f32, %2: f32):
      %3 = arith.mulf %0, %1 : f32
      %4 = arith.addf %2, %3 : f32
      linalg.yield %4 : f32
    }
    func.return
  }
  func.func @main(%a: memref<64x96xf32>, %b: memref<96x64xf32>, %out: memref<64x64xf32>, %scratch: memref<32768xi8>) {
    func.call @k0(%a, %b, %out, %scratch) : (memref<64x96xf32>, memref<96x64xf32>, memref<64x64xf32>, memref<32768xi8>) -> ()
    func.return
  }
}
