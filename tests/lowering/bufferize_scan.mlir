// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512}' | filecheck %s

// The value is carried in a buffer of 6 rows: every step reads one row and makes the one before it (reversed); the stack is
// those rows, so it is only copied because it is returned. The running sum has one place, overwritten in every step: the
// output itself. Slices are pointers into %xs.
// CHECK:      func.func @main(%h: memref<8xf32>, %xs: memref<5x8xf32>, %w: memref<8xf32>, %[[H:.*]]: memref<8xf32>, %[[SUM:.*]]: memref<8xf32>, %[[YS:.*]]: memref<5x8xf32>, %arena
// CHECK:      func.call @{{k.}}(%h, %
// CHECK:      func.call @{{k.}}(%w, %[[SUM]])
// CHECK:      scf.for %step =
// CHECK:      %[[T:.*]] = arith.subi %{{.*}}, %step
// CHECK:      %[[AT:.*]] = arith.muli %[[T]]
// CHECK:      memref.reinterpret_cast %{{.*}} to offset: [%{{.*}}], sizes: [8], strides: [1] : memref<48xf32>
// CHECK:      memref.reinterpret_cast %xs to offset: [%{{.*}}], sizes: [8], strides: [1] : memref<5x8xf32>
// CHECK:      func.call @[[K:k.]](%{{.*}}, %{{.*}}, %[[SUM]], %{{.*}}, %[[SUM]])
// CHECK-NOT:  func.call
// CHECK:      }
// CHECK:      func.call @{{k.}}(%{{.*}}, %[[H]])
// CHECK:      func.call @{{k.}}(%{{.*}}, %[[YS]])
func.func @main(%h: tensor<8xf32>, %xs: tensor<5x8xf32>, %w: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>, tensor<5x8xf32>) {
  %0, %1, %2 = prim.scan %h, %w, %xs {carried = 2 : i64, scanned = 1 : i64, steps = 5 : i64, reverse = true} : (tensor<8xf32>, tensor<8xf32>, tensor<5x8xf32>) -> (tensor<8xf32>, tensor<8xf32>, tensor<5x8xf32>) {
  ^bb0(%a: tensor<8xf32>, %s: tensor<8xf32>, %x: tensor<8xf32>):
    %3 = prim.mul %a, %x : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
    %4 = prim.add %s, %3 : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
    scan.yield %3, %4, %3 : (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) -> ()
  }
  func.return %0, %1, %2 : tensor<8xf32>, tensor<8xf32>, tensor<5x8xf32>
}
