// RUN: lamina opt %s -p 'bufferize{target=sm_90a},linalg-to-gpu{target=sm_90a}' --split-input-file | filecheck %s
// The same update of arrays of three lengths is one launch: 1 + 5 + 2 blocks, wide accesses, the last elements one by one.
builtin.module {
  func.func @main(%r: tensor<f32>, %a: tensor<10xf32>, %b: tensor<70x70xf32>, %c: tensor<2048xf32>, %d: tensor<10xf32>, %e: tensor<70x70xf32>, %f: tensor<2048xf32>) -> (tensor<10xf32>, tensor<70x70xf32>, tensor<2048xf32>) {
    %x = kernel.fused(%a, %d, %r) : (tensor<10xf32>, tensor<10xf32>, tensor<f32>) -> tensor<10xf32> {
    ^bb0(%0: tensor<10xf32>, %1: tensor<10xf32>, %2: tensor<f32>):
      %3 = tensor.empty() : tensor<10xf32>
      %4 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> ()>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%0, %1, %2 : tensor<10xf32>, tensor<10xf32>, tensor<f32>) outs(%3 : tensor<10xf32>) {
      ^bb1(%5: f32, %6: f32, %7: f32, %8: f32):
        %9 = arith.mulf %6, %7 : f32
        %10 = arith.subf %5, %9 : f32
        linalg.yield %10 : f32
      } -> tensor<10xf32>
      kernel.yield %4 : tensor<10xf32>
    }
    %y = kernel.fused(%r, %b, %e) : (tensor<f32>, tensor<70x70xf32>, tensor<70x70xf32>) -> tensor<70x70xf32> {
    ^bb0(%2: tensor<f32>, %0: tensor<70x70xf32>, %1: tensor<70x70xf32>):
      %3 = tensor.empty() : tensor<70x70xf32>
      %4 = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> ()>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%0, %1, %2 : tensor<70x70xf32>, tensor<70x70xf32>, tensor<f32>) outs(%3 : tensor<70x70xf32>) {
      ^bb1(%5: f32, %6: f32, %7: f32, %8: f32):
        %9 = arith.mulf %6, %7 : f32
        %10 = arith.subf %5, %9 : f32
        linalg.yield %10 : f32
      } -> tensor<70x70xf32>
      kernel.yield %4 : tensor<70x70xf32>
    }
    %z = kernel.fused(%c, %f, %r) : (tensor<2048xf32>, tensor<2048xf32>, tensor<f32>) -> tensor<2048xf32> {
    ^bb0(%0: tensor<2048xf32>, %1: tensor<2048xf32>, %2: tensor<f32>):
      %3 = tensor.empty() : tensor<2048xf32>
      %4 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> ()>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%0, %1, %2 : tensor<2048xf32>, tensor<2048xf32>, tensor<f32>) outs(%3 : tensor<2048xf32>) {
      ^bb1(%5: f32, %6: f32, %7: f32, %8: f32):
        %9 = arith.mulf %6, %7 : f32
        %10 = arith.subf %5, %9 : f32
        linalg.yield %10 : f32
      } -> tensor<2048xf32>
      kernel.yield %4 : tensor<2048xf32>
    }
    func.return %x, %y, %z : tensor<10xf32>, tensor<70x70xf32>, tensor<2048xf32>
  }
}
// CHECK:      func.func private @k3(
// CHECK-SAME: nv.grid = array<i64: 8, 1, 1>, nv.block = 256 : i64, nv.shared_bytes = 0 : i64
// CHECK:      %part = nv.part %block_x of [0, 1, 6]
// CHECK:      %start = nv.part_number %part of [0, 1, 6]
// CHECK:      %length = nv.part_number %part of [10, 4900, 2048]
// CHECK:      nv.part_memory %part of {{.*}} : memref<10xf32>, memref<70x70xf32>, memref<2048xf32> -> memref<4900xf32>
// CHECK:      scf.if
// CHECK:      nv.load
// CHECK:      arith.mulf
// CHECK:      nv.store {{.*}} : f32, f32, f32, f32 to memref<4900xf32>
// CHECK:      } else {
// CHECK:      scf.for
// CHECK:      memref.store
// CHECK:      func.call @k3
// CHECK-NEXT: func.return

// -----
// What the first reads, %b, is where the second may be made (`lamina.reusable`): the two stay apart. So do a maker and its reader.
builtin.module {
  func.func @main(%a: tensor<64xf32>, %b: tensor<64xf32>, %c: tensor<64xf32>) -> (tensor<64xf32>, tensor<64xf32>, tensor<64xf32>) {
    %x = kernel.fused(%a, %b) : (tensor<64xf32>, tensor<64xf32>) -> tensor<64xf32> {
    ^bb0(%0: tensor<64xf32>, %1: tensor<64xf32>):
      %3 = tensor.empty() : tensor<64xf32>
      %4 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%0, %1 : tensor<64xf32>, tensor<64xf32>) outs(%3 : tensor<64xf32>) {
      ^bb1(%5: f32, %6: f32, %8: f32):
        %10 = arith.subf %5, %6 : f32
        linalg.yield %10 : f32
      } -> tensor<64xf32>
      kernel.yield %4 : tensor<64xf32>
    }
    %y = kernel.fused(%b, %c) : (tensor<64xf32>, tensor<64xf32>) -> tensor<64xf32> {
    ^bb0(%0: tensor<64xf32>, %1: tensor<64xf32>):
      %3 = tensor.empty() : tensor<64xf32>
      %4 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%0, %1 : tensor<64xf32>, tensor<64xf32>) outs(%3 : tensor<64xf32>) {
      ^bb1(%5: f32, %6: f32, %8: f32):
        %10 = arith.subf %5, %6 : f32
        linalg.yield %10 : f32
      } -> tensor<64xf32>
      kernel.yield %4 : tensor<64xf32>
    }
    %z = kernel.fused(%y, %c) : (tensor<64xf32>, tensor<64xf32>) -> tensor<64xf32> {
    ^bb0(%0: tensor<64xf32>, %1: tensor<64xf32>):
      %3 = tensor.empty() : tensor<64xf32>
      %4 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%0, %1 : tensor<64xf32>, tensor<64xf32>) outs(%3 : tensor<64xf32>) {
      ^bb1(%5: f32, %6: f32, %8: f32):
        %10 = arith.subf %5, %6 : f32
        linalg.yield %10 : f32
      } -> tensor<64xf32>
      kernel.yield %4 : tensor<64xf32>
    }
    func.return %x, %y, %z : tensor<64xf32>, tensor<64xf32>, tensor<64xf32>
  }
}
// CHECK:      func.func @main
// CHECK-NEXT: func.call @k0(%a, %b
// CHECK-NEXT: func.call @k0(%b, %c
// CHECK-NEXT: func.call @k0
// CHECK-NEXT: func.return
